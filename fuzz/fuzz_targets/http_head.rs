//! A connection's bytes through the service's own connections: whole answers, in time and in little memory.

#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use resnet_fuzz::panics;
use resnet_fuzz::server::check::check;

fuzz_target!(init: panics::install(), |bytes: &[u8]| -> Corpus { check(bytes) });
