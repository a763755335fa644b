//! A content type and a body: its images or a refusal in our words, in the memory that the body allows.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::{http, panics};

fuzz_target!(init: panics::install(), |bytes: &[u8]| -> Corpus { http::check(bytes) });
