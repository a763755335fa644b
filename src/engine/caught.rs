//! Panics of the importer as errors: what a file makes it do is no fault of the service.
//!
//! Called by `tract`, `import`, `onnx`, `quantize` and `trial`. Who prints panics asks [`is_expected`] first.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::LoadError;

thread_local! {
    static CATCHES: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread becomes the reason for which a model is refused.
#[must_use]
pub fn is_expected() -> bool {
    CATCHES.get()
}

/// Runs what works on a file; a panic becomes the error that says so.
pub(super) fn catch<T>(run: impl FnOnce() -> Result<T, LoadError>) -> Result<T, LoadError> {
    catch_panic(run).unwrap_or_else(|text| Err(LoadError::BadGraph(text)))
}

/// Runs anything; a panic becomes an error, which is a sentence of one line.
pub(super) fn catch_panic<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    let outer = CATCHES.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    CATCHES.set(outer);
    result.map_err(|panic| {
        let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        let text = text.map_or_else(String::new, |text| super::graph_error::one_line(&text));
        format!("the importer gave up on it ({text})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panic_is_an_error_of_one_line_and_expected_only_meanwhile() {
        assert!(!is_expected());
        let caught = catch(|| -> Result<(), LoadError> {
            assert!(is_expected());
            let inner = catch(|| -> Result<(), LoadError> { Err(LoadError::Empty) });
            assert!(inner.is_err() && is_expected());
            panic!("two\nlines of {}", 7)
        });
        assert!(!is_expected());
        let text = caught.unwrap_err().to_string();
        assert!(
            text.ends_with("the importer gave up on it (two lines of 7)"),
            "{text}"
        );
    }
}
