//! What a request of `/classify` wants beside the classes, from its query: where the network saw one, and what it saw.
//!
//! Asked by `target`; `answer` writes it.

use super::error::ApiError;
use super::target::bad_query;
use crate::classifier::{Explain, ServedModel, Wish};
use crate::oip;

/// The parameters, as they came.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    pub(super) explain: Option<String>,
    pub(super) explain_class: Option<String>,
    pub(super) explain_image: Option<String>,
    pub(super) embedding: Option<String>,
    pub(super) timing: Option<String>,
}

/// How the embedding is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Embedding {
    #[default]
    None,
    /// The numbers as the linear layer reads them.
    Plain,
    /// Divided by the root of the sum of their squares.
    Normalized,
}

/// What an answer has beside the classes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Wishes {
    pub(super) explain: Option<Explain>,
    /// Whether the answer is the explanation as a picture, and nothing else.
    pub(super) is_overlay: bool,
    pub(super) embedding: Embedding,
    /// Whether it says how long each stage took.
    pub(super) timing: bool,
}

impl Wishes {
    /// Reads what came.
    ///
    /// # Errors
    /// The first parameter that is wrong; [`ApiError::NoFeatures`] if the model has none of it.
    pub(super) fn read(wanted: &Wanted, model: &ServedModel) -> Result<Wishes, ApiError> {
        let explains = match wanted.explain.as_deref() {
            None => false,
            Some("cam") => true,
            Some(other) => return Err(bad_query("explain", other, "cam".into())),
        };
        let is_overlay = match wanted.explain_image.as_deref() {
            None => false,
            Some("png") => true,
            Some(other) => return Err(bad_query("explain_image", other, "png".into())),
        };
        let explains = explains || is_overlay;
        let classes = model.info.labels.len();
        let class = match wanted.explain_class.as_deref() {
            None => Explain::Winner,
            Some(text) => {
                let class = text
                    .parse()
                    .ok()
                    .filter(|class| explains && *class < classes);
                let allowed = || {
                    let last = classes - 1;
                    format!(
                        "whole numbers from 0 to {last}, beside explain=cam or explain_image=png"
                    )
                };
                let wrong = || bad_query("explain_class", text, allowed());
                Explain::Class(class.ok_or_else(wrong)?)
            }
        };
        let embedding = match wanted.embedding.as_deref() {
            None | Some("false") => Embedding::None,
            Some(text @ ("true" | "normalized")) if is_overlay => {
                let allowed = "false beside explain_image, whose answer is a picture";
                return Err(bad_query("embedding", text, allowed.into()));
            }
            Some("true") => Embedding::Plain,
            Some("normalized") => Embedding::Normalized,
            Some(other) => {
                let allowed = "true, normalized and false";
                return Err(bad_query("embedding", other, allowed.into()));
            }
        };
        let timing = match wanted.timing.as_deref() {
            None | Some("false") => false,
            Some(text @ "true") if is_overlay => {
                let allowed = "false beside explain_image, whose answer is a picture";
                return Err(bad_query("timing", text, allowed.into()));
            }
            Some("true") => true,
            Some(other) => return Err(bad_query("timing", other, "true and false".into())),
        };
        let wishes = Wishes {
            explain: explains.then_some(class),
            is_overlay,
            embedding,
            timing,
        };
        if explains || embedding != Embedding::None {
            model.info.features()?;
        }
        Ok(wishes)
    }

    /// Most bytes that the answer takes for one image beside its classes: numbers as the network gives them, divided, and
    /// written. Of an overlay, which is counted by its pixels, those of the map.
    pub(super) fn bytes_beside_classes(self, model: &ServedModel) -> usize {
        self.numbers(model) * (4 + 4 + oip::JSON_NUMBER)
    }

    /// Numbers of the answer for one image beside its classes.
    pub(super) fn numbers(self, model: &ServedModel) -> usize {
        let Ok(spec) = model.info.features() else {
            return 0;
        };
        let map = if self.explain.is_some() {
            spec.height * spec.width
        } else {
            0
        };
        match self.embedding {
            Embedding::None => map,
            Embedding::Plain | Embedding::Normalized => map + spec.channels,
        }
    }

    /// What the classifier is asked for beside the classes.
    pub(super) fn of_classifier(self) -> Wish {
        Wish {
            explain: self.explain,
            features: self.embedding != Embedding::None,
            feature_map: false,
        }
    }
}
