//! Parameters: named values beside a request, an input or an output.
//!
//! Unknown ones mean nothing, as the protocol says; known ones are checked.

use std::time::Duration;

use super::OipError;
use crate::desk::cut;
use crate::preprocess::ExifMode;

/// A parameter's value.
#[derive(Debug, Clone, PartialEq)]
pub enum Parameter {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Another number.
    Float(f64),
    /// Text.
    Text(String),
}

impl Parameter {
    /// The value as a message shows it.
    fn shown(&self) -> String {
        match self {
            Parameter::Bool(value) => value.to_string(),
            Parameter::Integer(value) => value.to_string(),
            Parameter::Float(value) => format!("{value:?}"), // 4.0 is no whole number here
            Parameter::Text(text) => format!("\"{}\"", cut(text)),
        }
    }
}

/// The parameters of one thing, in the order in which they came.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parameters(pub Vec<(String, Parameter)>);

/// Names of parameters by which Triton's clients ask for what is not here.
const REFUSED: [(&str, &str); 6] = [
    ("sequence_id", "sequences"),
    ("sequence_start", "sequences"),
    ("sequence_end", "sequences"),
    ("shared_memory_region", "shared memory"),
    ("shared_memory_byte_size", "shared memory"),
    ("shared_memory_offset", "shared memory"),
];

impl Parameters {
    /// The value of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Parameter> {
        let mut named = self.0.iter().filter(|(n, _)| n == name);
        named.next().map(|(_, value)| value)
    }

    /// Refuses what asks for something that is not here. A sequence of zero is none.
    ///
    /// # Errors
    /// [`OipError::Unsupported`].
    pub(super) fn check(&self) -> Result<(), OipError> {
        let none = [Parameter::Bool(false), Parameter::Integer(0)];
        for (name, value) in &self.0 {
            let refused = REFUSED.iter().find(|(refused, _)| refused == name);
            if let Some((name, what)) = refused.filter(|_| !none.contains(value)) {
                return Err(OipError::Unsupported(format!(
                    "parameter {name} is given, but this server has no {what}"
                )));
            }
        }
        Ok(())
    }

    /// A switch, where it is given.
    ///
    /// # Errors
    /// [`OipError::Parameter`].
    pub(super) fn switch(&self, name: &str) -> Result<Option<bool>, OipError> {
        match self.find(name) {
            None => Ok(None),
            Some(Parameter::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(name, other, "true and false".into())),
        }
    }

    /// A whole number from `least`, where it is given.
    ///
    /// # Errors
    /// [`OipError::Parameter`].
    pub(super) fn number(&self, name: &str, least: u64) -> Result<Option<u64>, OipError> {
        let Some(value) = self.find(name) else {
            return Ok(None);
        };
        let number = match value {
            Parameter::Integer(n) => u64::try_from(*n).ok().filter(|n| *n >= least),
            _ => None,
        };
        let allowed = || format!("whole numbers from {least}");
        number
            .map(Some)
            .ok_or_else(|| wrong(name, value, allowed()))
    }

    /// How long the client waits, as the extension `schedule_policy` has it: in microseconds, 0 for the server's own.
    ///
    /// # Errors
    /// [`OipError::Parameter`].
    pub(super) fn timeout(&self) -> Result<Option<Duration>, OipError> {
        let micros = self.number("timeout", 0)?.filter(|n| *n > 0);
        Ok(micros.map(Duration::from_micros))
    }

    /// Whether images are turned upright.
    ///
    /// # Errors
    /// [`OipError::Parameter`].
    pub(super) fn exif(&self) -> Result<ExifMode, OipError> {
        match self.find("exif") {
            None => Ok(ExifMode::Apply),
            Some(Parameter::Text(text)) if text == "auto" => Ok(ExifMode::Apply),
            Some(Parameter::Text(text)) if text == "ignore" => Ok(ExifMode::Ignore),
            Some(other) => Err(wrong("exif", other, "\"auto\" and \"ignore\"".into())),
        }
    }
}

fn wrong(name: &str, value: &Parameter, allowed: String) -> OipError {
    OipError::Parameter {
        name: name.into(),
        value: value.shown(),
        allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(name: &str, value: Parameter) -> Parameters {
        Parameters(vec![(name.into(), value)])
    }

    #[test]
    fn known_ones_are_checked_and_others_mean_nothing() {
        let of = |value| parameters("timeout", value).timeout();
        let ms = Duration::from_millis(2);
        assert_eq!(of(Parameter::Integer(2000)), Ok(Some(ms)));
        assert_eq!(of(Parameter::Integer(0)), Ok(None));
        for wrong in [
            Parameter::Integer(-1),
            Parameter::Integer(1 << 64),
            Parameter::Float(1.5),
            Parameter::Float(4.0),
            Parameter::Bool(true),
            Parameter::Text("soon".into()),
        ] {
            let shown = wrong.shown();
            let error = of(wrong).expect_err("no whole number").to_string();
            let text = format!("parameter timeout is {shown}, allowed are whole numbers from 0");
            assert_eq!(error, text);
            assert_ne!(shown, "4");
        }
        let mine = parameters("mine", Parameter::Text("x".into()));
        assert_eq!((mine.check(), mine.timeout()), (Ok(()), Ok(None)));
    }

    #[test]
    fn sequences_and_shared_memory_are_refused_by_name() {
        let sequence = parameters("sequence_id", Parameter::Integer(7)).check();
        let text = sequence.expect_err("no sequences").to_string();
        assert!(text.contains("sequence_id"), "{text}");
        assert_eq!(
            parameters("sequence_id", Parameter::Integer(0)).check(),
            Ok(())
        );
        let region = parameters("shared_memory_region", Parameter::Text("x".into()));
        let text = region.check().expect_err("no shared memory").to_string();
        assert!(text.contains("this server has no shared memory"), "{text}");
    }
}
