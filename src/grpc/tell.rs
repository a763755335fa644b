//! The calls that tell what there is and how it is.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use prost::Message;

use super::frame::{self, Frames, Reader};
use super::messages::{
    AllStatistics, BatchStatistics, Counted, DynamicBatching, Empty, Index, IndexRequest,
    InferStatistics, ModelConfig, ModelConfigResponse, ModelIndex, ModelInput, ModelMetadata,
    ModelOutput, ModelStatistics, OfModel, ServerMetadata, TYPE_FP32, TensorMetadata,
    VersionPolicy, Versions, Yes,
};
use crate::classifier::{ServedModel, SharedClassifier};
use crate::desk::{Deadline, Desk, DeskError};
use crate::http::{ApiError, client_id};
use crate::oip::config::{self, Batching};
use crate::oip::index::{self, IndexedModel};
use crate::oip::{OipError, metadata, statistics};

/// Most bytes of a request about the server or a model: two names.
const MOST: u32 = 64 << 10;

/// Reads the one message of a call, and answers it.
async fn unary<Q: Message + Default, A: Message>(
    desk: &Desk,
    request: Request,
    handle: impl FnOnce(Q) -> Result<A, ApiError>,
) -> Response {
    match read(desk, request).await.and_then(handle) {
        Ok(answer) => frame::answer(&answer),
        Err(error) => error.into_response(),
    }
}

/// Reads the one message of a call.
pub(super) async fn read<Q: Message + Default>(
    desk: &Desk,
    request: Request,
) -> Result<Q, ApiError> {
    let (head, body) = request.into_parts();
    let limits = desk.limits();
    let reader = Reader {
        desk,
        client: client_id(desk, &head.extensions),
        deadline: &Deadline::new(Instant::now(), limits.request_timeout, None),
    };
    let mut frames = Frames::new(body);
    let begun = tokio::time::timeout(limits.body_timeout, frames.begin()).await;
    let length = begun.map_err(|_| DeskError::BodyTimeout(limits.body_timeout))??;
    let length = length.ok_or(DeskError::BodyCut)?;
    if length > MOST {
        return Err(ApiError::from(DeskError::BodyTooLarge {
            got: Some(length.into()),
            max: MOST.into(),
        }));
    }
    let mut held = frames.read(length, reader).await?;
    let wrong = |_| OipError::Message("it is no protobuf message of the call's type".into());
    Ok(Q::decode(held.take()).map_err(wrong)?)
}

/// The models in charge, and the one that is asked about.
pub(super) fn find(
    desk: &Desk,
    name: &str,
    version: &str,
) -> Result<(Arc<SharedClassifier>, Arc<ServedModel>), ApiError> {
    let classifier = desk.classifier()?;
    let model = desk.model(&classifier, Some(name), Some(version))?;
    Ok((classifier, model))
}

pub(super) async fn server_live(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let yes = || desk.classifier().ok().and_then(|c| c.stuck()).is_none();
    unary(&desk, request, |_: Empty| Ok(Yes { yes: yes() })).await
}

pub(super) async fn server_ready(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let yes = || desk.is_ready();
    unary(&desk, request, |_: Empty| Ok(Yes { yes: yes() })).await
}

pub(super) async fn server_metadata(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let metadata = metadata::ServerMetadata::new();
    let answer = |_: Empty| {
        Ok(ServerMetadata {
            name: metadata.name.into(),
            version: metadata.version.into(),
            extensions: metadata.extensions.map(Into::into).into(),
        })
    };
    unary(&desk, request, answer).await
}

pub(super) async fn model_ready(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let answer = |of: OfModel| {
        find(&desk, &of.name, &of.version)?;
        Ok(Yes {
            yes: desk.is_ready(),
        })
    };
    unary(&desk, request, answer).await
}

pub(super) async fn model_metadata(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let answer = |of: OfModel| {
        let (classifier, model) = find(&desk, &of.name, &of.version)?;
        let versions = classifier.versions(&model.info.name);
        let metadata = metadata::ModelMetadata::of(&model.info, &versions);
        let tensor = |tensor: metadata::TensorMetadata| TensorMetadata {
            name: tensor.name,
            datatype: tensor.datatype.into(),
            shape: tensor.shape,
        };
        let properties = metadata.properties.into_iter();
        Ok(ModelMetadata {
            name: metadata.name,
            versions: metadata.versions,
            platform: metadata.platform.into(),
            inputs: metadata.inputs.into_iter().map(tensor).collect(),
            outputs: metadata.outputs.into_iter().map(tensor).collect(),
            properties: properties
                .map(|(name, value)| (name.into(), value))
                .collect(),
        })
    };
    unary(&desk, request, answer).await
}

pub(super) async fn model_config(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let answer = |of: OfModel| {
        let (classifier, model) = find(&desk, &of.name, &of.version)?;
        let batching = Batching::of(desk.limits(), &classifier);
        let config = config::ModelConfig::of(&model.info, batching);
        Ok(ModelConfigResponse {
            config: Some(config_message(config)),
        })
    };
    unary(&desk, request, answer).await
}

fn config_message(config: config::ModelConfig) -> ModelConfig {
    let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
    let batching = config.dynamic_batching;
    let input = |tensor: config::TensorConfig| ModelInput {
        name: tensor.name,
        data_type: TYPE_FP32,
        dims: tensor.dims,
    };
    let output = |tensor: config::TensorConfig| ModelOutput {
        name: tensor.name,
        data_type: TYPE_FP32,
        dims: tensor.dims,
    };
    ModelConfig {
        name: config.name,
        platform: config.platform.into(),
        version_policy: Some(VersionPolicy {
            specific: Some(Versions {
                versions: config.version_policy.specific.versions.into(),
            }),
        }),
        max_batch_size: number(config.max_batch_size),
        input: config.input.into_iter().map(input).collect(),
        output: config.output.into_iter().map(output).collect(),
        dynamic_batching: Some(DynamicBatching {
            preferred_batch_size: batching.preferred_batch_size.map(number).into(),
            max_queue_delay_microseconds: batching.max_queue_delay_microseconds,
        }),
        backend: config.backend.into(),
    }
}

pub(super) async fn model_statistics(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let answer = |of: OfModel| {
        let told = |classifier: &SharedClassifier, model: &ServedModel| {
            let runs = classifier.runs(model);
            statistics_message(statistics::ModelStatistics::of(model, &runs))
        };
        let model_stats = match of.name.as_str() {
            "" => {
                let classifier = desk.classifier()?;
                let models = classifier.models().iter();
                models.map(|model| told(&classifier, model)).collect()
            }
            name => {
                let (classifier, model) = find(&desk, name, &of.version)?;
                vec![told(&classifier, &model)]
            }
        };
        Ok(AllStatistics { model_stats })
    };
    unary(&desk, request, answer).await
}

fn statistics_message(of: statistics::ModelStatistics) -> ModelStatistics {
    let counted = |c: statistics::Counted| {
        Some(Counted {
            count: c.count,
            ns: c.ns,
        })
    };
    let stages = of.inference_stats;
    let batch = |batch: statistics::BatchStatistics| BatchStatistics {
        batch_size: batch.batch_size as u64,
        compute_input: counted(batch.compute_input),
        compute_infer: counted(batch.compute_infer),
        compute_output: counted(batch.compute_output),
    };
    ModelStatistics {
        name: of.name,
        version: of.version,
        last_inference: of.last_inference,
        inference_count: of.inference_count,
        execution_count: of.execution_count,
        inference_stats: Some(InferStatistics {
            success: counted(stages.success),
            fail: counted(stages.fail),
            queue: counted(stages.queue),
            compute_input: counted(stages.compute_input),
            compute_infer: counted(stages.compute_infer),
            compute_output: counted(stages.compute_output),
            cache_hit: counted(stages.cache_hit),
            cache_miss: counted(stages.cache_miss),
        }),
        batch_stats: of.batch_stats.into_iter().map(batch).collect(),
    }
}

pub(super) async fn repository_index(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let client = client_id(&desk, request.extensions());
    let answer = async {
        let asked: IndexRequest = read(&desk, request).await?;
        let models = match asked.ready {
            true => index::ready(&desk)?,
            false => index::all(&desk, client).await?,
        };
        let model = |model: IndexedModel| ModelIndex {
            name: model.name,
            version: model.version.to_string(),
            state: model.state.name().into(),
            reason: model.state.reason().into(),
        };
        Ok::<_, ApiError>(Index {
            models: models.into_iter().map(model).collect(),
        })
    };
    match answer.await {
        Ok(answer) => frame::answer(&answer),
        Err(error) => error.into_response(),
    }
}
