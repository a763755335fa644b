//! A message of gRPC: images or a refusal in our words, in the memory that the message allows.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::{oip, panics};

fuzz_target!(init: panics::install(), |bytes: &[u8]| -> Corpus { oip::check_grpc(bytes) });
