//! Which panics are findings: all of ours, and none of the decoders'.
//!
//! Installed by every target. The service contains a panic of a decoder and answers 422, since the input is at fault;
//! so a panic in a dependency is told once and the run goes on. One in our own code is contained just so, but it is a
//! mistake of ours and ends the run, as does any other that starts in the standard library.

use std::backtrace::Backtrace;
use std::collections::BTreeSet;
use std::panic::PanicHookInfo;
use std::sync::{Mutex, PoisonError};

/// Where dependencies have panicked, so that each place is told once.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Replaces the hook of `libfuzzer_sys`, which ends the run at every panic.
pub fn install() {
    std::panic::set_hook(Box::new(hook));
}

fn hook(info: &PanicHookInfo<'_>) {
    let place = info.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    if is_dependency(&place) {
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.insert(place) {
            eprintln!("contained: {info}");
        }
        return;
    }
    eprintln!("{info}\n{}", Backtrace::force_capture());
    std::process::abort();
}

/// Cargo compiles our own files by relative paths and dependencies by absolute ones.
fn is_dependency(place: &str) -> bool {
    place.starts_with('/') && !place.starts_with("/rustc/") && !place.contains("/rustlib/")
}
