//! Bytes that start as a JPEG XL, to a tensor.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::preprocess::Format;
use resnet_fuzz::{image, panics};

fuzz_target!(init: panics::install(), |bytes: &[u8]| -> Corpus {
    image::check(Format::Jxl, bytes)
});
