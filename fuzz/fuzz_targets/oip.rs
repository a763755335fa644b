//! A body of the Open Inference Protocol: images or a refusal in our words, in the memory that the body allows.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::{oip, panics};

fuzz_target!(init: panics::install(), |bytes: &[u8]| -> Corpus { oip::check_rest(bytes) });
