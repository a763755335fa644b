//! `--model`: which models, by catalogue name or file.
//!
//! Shared by the commands that serve, classify or look into a model.

use clap::Args;

use super::StoreArgs;
use crate::cli::output::UsageError;
use crate::engine::InputForm;
use crate::preprocess::PreprocessSpec;
use crate::registry::{self, Catalog, ModelError, ModelRef};

/// Which models, and where pulled ones lie.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Model")]
pub(crate) struct ModelArgs {
    /// Catalogue name, .onnx file, directory with model.onnx or with versions of it, or name of one in --models-dir;
    /// NAME=PATH names it, NAME@2 is version 2 of a name. `serve` takes more of them, repeated or separated by commas,
    /// the first is its default [default: the built-in efficientnet-lite0]
    #[arg(
        long,
        env = "RESNET_MODEL",
        value_delimiter = ',',
        value_parser = parse_model,
        value_name = "MODEL"
    )]
    model: Vec<String>,

    #[command(flatten)]
    pub(crate) store: StoreArgs,
}

/// Takes any text but none: a shell puts none in place of a variable that is not set. Blanks stand behind the commas of a
/// list.
fn parse_model(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a name or path is missing; without --model the built-in one is taken".into()),
        text => Ok(text.to_owned()),
    }
}

impl ModelArgs {
    /// Finds what every `--model` names.
    ///
    /// # Errors
    /// The first that names nothing, is not downloaded, or repeats a name.
    pub(crate) fn references(&self) -> anyhow::Result<Vec<ModelRef>> {
        if self.model.is_empty() {
            return Ok(vec![ModelRef::preset()?]);
        }
        let (catalog, store) = (Catalog::builtin(), self.store.store()?);
        let mut references: Vec<ModelRef> = Vec::with_capacity(self.model.len());
        for value in &self.model {
            let reference = ModelRef::parse(value, &catalog, store.as_ref())?;
            if references
                .iter()
                .any(|r| registry::is_same_model(&r.name, &reference.name))
            {
                return Err(ModelError::DuplicateName(reference.name).into());
            }
            references.push(reference);
        }
        Ok(references)
    }

    /// Finds what the only `--model` names, for a command that takes one.
    ///
    /// # Errors
    /// As [`ModelArgs::references`]; a usage error if there are more.
    pub(crate) fn one_reference(&self, command: &str) -> anyhow::Result<ModelRef> {
        let mut references = self.references()?;
        if references.len() > 1 {
            let count = references.len();
            let text = format!("{command} takes one --model, {count} were given");
            return Err(UsageError(text).into());
        }
        Ok(references.remove(0))
    }

    /// How images become the input of the only `--model`, and in which form its network takes them; a model of the
    /// catalogue need not be pulled for that.
    ///
    /// # Errors
    /// As [`ModelArgs::one_reference`], or if the model's file says nothing usable.
    pub(crate) fn preprocess_spec(
        &self,
        command: &str,
    ) -> anyhow::Result<(PreprocessSpec, InputForm)> {
        if let [value] = &self.model[..]
            && let Some(entry) = Catalog::builtin().find(value)
        {
            return Ok((entry.preprocess.clone(), InputForm::default()));
        }
        Ok(registry::preprocess_of(&self.one_reference(command)?)?)
    }
}
