//! Places where a test can make something go wrong; nothing of them is in a build without the feature `fail-points`.
//!
//! `tests/faults.rs` says what happens at each in `RESNET_FAULTS`, as `engine-run=1*off->2*panic; decode=sleep(500)`:
//! steps in order, each as often as it says, the last one for ever if it does not.

/// A place named by a string. With a second argument, `return` leaves the function with that value.
macro_rules! fault {
    ($name:literal) => {
        #[cfg(feature = "fail-points")]
        let _ = crate::faults::meet($name);
    };
    ($name:literal, $value:expr) => {
        #[cfg(feature = "fail-points")]
        if crate::faults::meet($name) == crate::faults::Effect::Return {
            return $value;
        }
    };
}

#[cfg(feature = "fail-points")]
pub(crate) use self::points::{Effect, arm, meet};

#[cfg(feature = "fail-points")]
mod points {
    use std::collections::HashMap;
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    /// What a place makes of the fault it met.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Effect {
        Nothing,
        Return,
    }

    #[derive(Debug, Clone, Copy)]
    enum Action {
        Off,
        Panic,
        Return,
        Sleep(Duration),
    }

    /// An action and how often it is still taken.
    type Step = (usize, Action);

    static ARMED: OnceLock<HashMap<String, Mutex<Vec<Step>>>> = OnceLock::new();

    /// Sets what happens, once for the process.
    ///
    /// # Panics
    /// If `text` is malformed: a test is wrong.
    pub(crate) fn arm(text: &str) {
        let fault = |part: &str| {
            let (name, steps) = part.split_once('=').expect("name=steps");
            let steps = steps.split("->").map(step).collect();
            (name.trim().to_owned(), Mutex::new(steps))
        };
        let parts = text.split(';').filter(|part| !part.trim().is_empty());
        let _ = ARMED.set(parts.map(fault).collect());
    }

    fn step(text: &str) -> Step {
        let (times, action) = match text.trim().split_once('*') {
            Some((times, action)) => (times.parse().expect("a number before *"), action),
            None => (usize::MAX, text.trim()),
        };
        let sleep = action
            .strip_prefix("sleep(")
            .and_then(|a| a.strip_suffix(')'));
        let action = match (action, sleep) {
            ("off", _) => Action::Off,
            ("panic", _) => Action::Panic,
            ("return", _) => Action::Return,
            (_, Some(ms)) => {
                Action::Sleep(Duration::from_millis(ms.parse().expect("milliseconds")))
            }
            _ => panic!("{action} is no action, there are off, panic, return and sleep(MS)"),
        };
        (times, action)
    }

    /// Does what is set for the place `name`.
    pub(crate) fn meet(name: &str) -> Effect {
        match next(name) {
            Action::Off => Effect::Nothing,
            Action::Return => Effect::Return,
            Action::Panic => panic!("a test wants a panic at {name}"),
            #[allow(
                clippy::disallowed_methods,
                reason = "a thread that is stuck is what is tested"
            )]
            Action::Sleep(time) => {
                std::thread::sleep(time);
                Effect::Nothing
            }
        }
    }

    fn next(name: &str) -> Action {
        let Some(steps) = ARMED.get().and_then(|armed| armed.get(name)) else {
            return Action::Off;
        };
        let mut steps = steps.lock().unwrap_or_else(PoisonError::into_inner);
        steps.retain(|(times, _)| *times > 0);
        match steps.first_mut() {
            None => Action::Off,
            Some((times, action)) => {
                *times -= 1;
                *action
            }
        }
    }
}
