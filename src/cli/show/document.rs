//! `resnet show --json`: the same facts as one object.
//!
//! Keys are only ever added. What is loaded has those of `GET /models/{name}` too.

use serde::Serialize;

use crate::engine::Lowering;
use crate::http::ModelBody;
use crate::registry::{Builtin, CatalogEntry, LoadedModel};

/// The JSON document of `resnet show`.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    /// The model as it was asked for.
    model: &'a str,
    built_in: Option<BuiltIn>,
    catalogue: Option<&'a CatalogEntry>,
    /// `null` where the model has not been pulled.
    loaded: Option<Loaded<'a>>,
}

#[derive(Serialize)]
struct BuiltIn {
    description: &'static str,
    license: &'static str,
}

/// What is known once the file has been read.
#[derive(Serialize)]
struct Loaded<'a> {
    #[serde(flatten)]
    served: ModelBody<'a>,
    file: &'a str,
    load_ms: u64,
    preprocess_from: &'a str,
    labels_from: &'a str,
    output_reason: &'a str,
    notes: Vec<&'a str>,
    operators: Operators<'a>,
}

/// Which operators ours compute, and which tract's.
#[derive(Serialize)]
struct Operators<'a> {
    /// Steps of ours, for so many operators of tract's.
    ours: usize,
    replaced: usize,
    left_to_tract: Vec<Left<'a>>,
    not_ours: Vec<NotOurs<'a>>,
}

#[derive(Serialize)]
struct Left<'a> {
    operator: &'a str,
    count: usize,
}

/// A node that could be ours and is not.
#[derive(Serialize)]
struct NotOurs<'a> {
    node: &'a str,
    reason: &'a str,
}

impl<'a> Document<'a> {
    /// What is known of the model that was asked for by this name.
    pub(super) fn new(
        model: &'a str,
        catalogue: Option<&'a CatalogEntry>,
        loaded: Option<&'a LoadedModel>,
    ) -> Document<'a> {
        Document {
            model,
            built_in: Builtin::find(model).map(|builtin| BuiltIn {
                description: builtin.description,
                license: builtin.license,
            }),
            catalogue,
            loaded: loaded.map(Loaded::new),
        }
    }
}

impl<'a> Loaded<'a> {
    fn new(model: &'a LoadedModel) -> Loaded<'a> {
        let spec = model.model.spec();
        let notes = spec.notes.iter().chain(&model.notes);
        Loaded {
            served: ModelBody::with_classes(model),
            file: &model.origin,
            load_ms: crate::cli::load::millis(model.load_time),
            preprocess_from: &model.preprocess_from,
            labels_from: &model.labels_from,
            output_reason: &model.output_reason,
            notes: notes.map(|note| &**note).collect(),
            operators: Operators::new(&spec.lowering),
        }
    }
}

impl<'a> Operators<'a> {
    fn new(lowering: &'a Lowering) -> Operators<'a> {
        let Lowering {
            steps,
            replaced,
            layers: _,
            left,
            refused,
        } = lowering;
        let left = left.iter().map(|(operator, count)| Left {
            operator,
            count: *count,
        });
        let not_ours = refused.iter().map(|refused| NotOurs {
            node: &refused.node,
            reason: &refused.reason,
        });
        Operators {
            ours: *steps,
            replaced: *replaced,
            left_to_tract: left.collect(),
            not_ours: not_ours.collect(),
        }
    }
}
