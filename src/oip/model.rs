//! A served model in the protocol's words: its input in the three forms that are taken, and its outputs.
//!
//! The names are those of the network's own file, so that clients of another server find them, besides short ones that
//! are the same for every model.

use super::OipError;
use crate::desk::cut;
use crate::tensor::Size;

/// What a model takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputForm {
    /// The input's name in the file.
    pub name: String,
    /// Rows and columns of an image.
    pub size: Size,
}

/// The input's name that is the same for every model.
pub(super) const ANY_INPUT: &str = "input";

/// What an output's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// As the network gives them.
    Raw,
    /// The softmax of them.
    Probabilities,
}

/// One of a model's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputForm {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub values: Values,
}

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelForm {
    /// Its input.
    pub input: InputForm,
    /// Its outputs, in order.
    pub outputs: Vec<OutputForm>,
    /// The name in the file of the network's output: the first of them.
    pub own_output: String,
    /// Values of each.
    pub classes: usize,
}

impl InputForm {
    /// Numbers of one image: three a pixel.
    #[must_use]
    pub fn values(&self) -> usize {
        self.size.values()
    }

    /// Whether the input has this name.
    #[must_use]
    pub fn is_called(&self, name: &str) -> bool {
        name == self.name || name == ANY_INPUT
    }
}

impl ModelForm {
    /// The output of this name.
    ///
    /// # Errors
    /// [`OipError::Output`].
    pub(super) fn output(&self, name: &str) -> Result<&OutputForm, OipError> {
        let named = self.outputs.iter().find(|output| output.name == name);
        let own = || self.outputs.first().filter(|_| name == self.own_output);
        named.or_else(own).ok_or_else(|| {
            let names = self.outputs.iter().map(|output| output.name);
            OipError::Output(format!(
                "there is no output \"{}\", there are: {}",
                cut(name),
                names.collect::<Vec<_>>().join(", ")
            ))
        })
    }
}
