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
    /// The numbers that the network gives.
    Raw,
    /// The softmax of the numbers that the network gives.
    Probabilities,
    /// The mean of each channel of the network's last feature map.
    Features,
    /// The network's last feature map.
    FeatureMap,
}

impl Values {
    /// Whether an answer has such an output only if the request names it.
    #[must_use]
    pub fn is_on_request(self) -> bool {
        matches!(self, Values::Features | Values::FeatureMap)
    }
}

/// One of a model's outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputForm {
    /// Its name.
    pub name: &'static str,
    /// What its values are.
    pub values: Values,
    /// Its extents for one image.
    pub shape: Vec<usize>,
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
    /// The number of classes: values of an output that has one for each.
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
        // The file's own name before those that are ours, but for what every model has.
        let named = |on_request| {
            let mut outputs = self.outputs.iter();
            outputs.find(|o| o.name == name && o.values.is_on_request() == on_request)
        };
        let own = || self.outputs.first().filter(|_| name == self.own_output);
        let found = named(false).or_else(own).or_else(|| named(true));
        found.ok_or_else(|| {
            let names = self.outputs.iter().map(|output| output.name);
            OipError::Output(format!(
                "there is no output \"{}\", there are: {}",
                cut(name),
                names.collect::<Vec<_>>().join(", ")
            ))
        })
    }
}
