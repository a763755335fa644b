//! `--explain`: the picture of where the model saw a class.
//!
//! Used by `classify`, of one image.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::classifier::{Classification, Explain};
use crate::cli::destination::Destination;
use crate::cli::output::UsageError;
use crate::overlay::{self, TooLarge};
use crate::registry::LoadedModel;

/// The destination of the picture.
pub(super) struct Picture {
    destination: Destination,
}

impl Picture {
    /// Opens the file, whose content is replaced by the picture alone.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn open(path: &Path) -> anyhow::Result<Picture> {
        let destination = Destination::open(Some(path))?;
        // Answers may go to standard output beside it.
        if matches!(destination, Destination::Stdout) {
            let text = "--explain writes a picture: name a file, not -";
            return Err(UsageError(text.into()).into());
        }
        Ok(Picture { destination })
    }

    /// Refuses several images, to replace the one, and to be where the answers go.
    ///
    /// # Errors
    /// A usage error.
    pub(super) fn check(&self, files: &[PathBuf], answers: &Destination) -> Result<(), UsageError> {
        if files.len() != 1 || files[0].is_dir() {
            let text = "--explain is of one image: name one file, no folder";
            return Err(UsageError(text.into()));
        }
        let own = self.destination.real_path();
        if let Some(path) = own.filter(|own| answers.real_path().as_ref() == Some(own)) {
            let path = path.display();
            let text = format!("{path} is the file of both --output and --explain: name two");
            return Err(UsageError(text));
        }
        if matches!(answers, Destination::Stdout) && self.destination.is_same(answers) {
            let text = "--explain is standard output, where the answers go: name a file in --output for them";
            return Err(UsageError(text.into()));
        }
        let inputs = files.iter().map(PathBuf::as_path);
        self.destination.refuse_inputs(inputs)
    }

    /// Draws the picture and writes it, if the photo is not too large for that.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(
        &mut self,
        model: &LoadedModel,
        answer: &Classification,
    ) -> anyhow::Result<Result<(), TooLarge>> {
        let activation = answer.further.activation.as_ref();
        let activation = activation.context("the model has explained nothing")?;
        let image = answer.image.context("the photo has no size")?;
        let size = (image.width, image.height);
        let seen = model.preprocess.seen(size.0, size.1);
        let png = match overlay::draw(activation, seen, size) {
            Ok(png) => png,
            Err(error) => return Ok(Err(error)),
        };
        self.destination.write_whole(&png).map(Ok)
    }
}

/// The class that is to be shown.
///
/// # Errors
/// A usage error if the model has no such class, or cannot explain.
pub(super) fn wish(model: &LoadedModel, class: Option<usize>) -> Result<Explain, UsageError> {
    if let Err(error) = model.features() {
        return Err(UsageError(format!("--explain: {error}")));
    }
    let classes = model.labels.len();
    match class {
        None => Ok(Explain::Winner),
        Some(class) if class < classes => Ok(Explain::Class(class)),
        Some(class) => Err(UsageError(format!(
            "--explain-class is {class}, allowed are 0 to {}",
            classes - 1
        ))),
    }
}
