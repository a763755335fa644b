//! What the document tells of the routes of the Open Inference Protocol.

use serde_json::{Value, json};

use super::operation::{Operation, Tag, header, of_json, reference};
use super::operations::{OF_BODIES, OF_IMAGES, OF_MODEL, SAMPLE, patience};
use crate::desk::{Code, RequestLimits};
use crate::http::kind::{self, Kind};

fn told(id: &str, summary: &'static str, schema: &str) -> Operation {
    Operation {
        id: format!("v2_{id}"),
        tag: Tag::InferenceProtocol,
        summary,
        parameters: Vec::new(),
        body: None,
        answer: of_json("The answer.", schema),
        problems: Vec::new(),
    }
}

fn told_of_model(id: &str, summary: &'static str, schema: &str) -> Operation {
    Operation {
        problems: OF_MODEL.to_vec(),
        ..told(id, summary, schema)
    }
}

/// `GET /v2`.
pub(in crate::http) fn server() -> Operation {
    told("server", "Name, version and extensions", "ServerMetadata")
}

/// `GET /v2/health/live`.
pub(in crate::http) fn live() -> Operation {
    Operation {
        problems: vec![Kind::of(Code::Stuck)],
        ..told("live", "As /livez; needs no key", "ServerLive")
    }
}

/// `GET /v2/health/ready`.
pub(in crate::http) fn ready() -> Operation {
    Operation {
        problems: vec![Kind::of(Code::NotReady), Kind::of(Code::ShuttingDown)],
        ..told("ready", "As /readyz; needs no key", "ServerReady")
    }
}

/// `GET /v2/models`.
pub(in crate::http) fn models() -> Operation {
    Operation {
        problems: vec![Kind::of(Code::NotReady)],
        ..told("models", "Names of the served models", "ModelNames")
    }
}

/// `GET /v2/models/{model}`.
pub(in crate::http) fn metadata() -> Operation {
    told_of_model(
        "metadata",
        "What a model takes and gives; its properties tell preprocessing, digest and precision",
        "ModelMetadata",
    )
}

/// `GET /v2/models/{model}/ready`.
pub(in crate::http) fn model_ready() -> Operation {
    let told = told_of_model("model_ready", "Whether a model answers", "ModelReady");
    Operation {
        problems: [&told.problems[..], &[Kind::of(Code::ShuttingDown)]].concat(),
        ..told
    }
}

/// `GET /v2/models/{model}/config`.
pub(in crate::http) fn config() -> Operation {
    told_of_model(
        "config",
        "What Triton's clients read of a model's configuration",
        "ModelConfig",
    )
}

/// `GET /v2/models/{model}/stats`.
pub(in crate::http) fn statistics() -> Operation {
    told_of_model(
        "statistics",
        "A model's requests, images and runs, with their times",
        "Statistics",
    )
}

/// `GET /v2/models/stats`.
pub(in crate::http) fn all_statistics() -> Operation {
    Operation {
        problems: vec![Kind::of(Code::NotReady)],
        ..told("all_statistics", "The same of all models", "Statistics")
    }
}

/// `POST /v2/models/{model}/infer`.
pub(in crate::http) fn infer(limits: &RequestLimits) -> Operation {
    let max_images = limits.max_images;
    let binary = json!({"schema": {"type": "string", "format": "binary"}});
    let mut answer = of_json("The outputs that were asked for.", "InferResponse");
    answer["content"]["application/octet-stream"] = binary.clone();
    answer["headers"]["Inference-Header-Content-Length"] = header("JsonLength");
    answer["headers"]["Server-Timing"] = header("ServerTiming");
    let body = json!({
        "required": true,
        "description": format!(
            "JSON, or JSON with the tensors' bytes behind it, or one encoded image alone; told apart by the header \
             Inference-Header-Content-Length, not by the content type. At most {max_images} images and {} bytes.",
            limits.max_body_bytes
        ),
        "content": {
            "application/json": {"schema": reference("InferRequest"), "example": {
                "inputs": [{"name": "input", "datatype": "BYTES", "shape": [1], "data": [SAMPLE]}],
                "outputs": [{"name": "probabilities", "parameters": {"classification": 5}}],
            }},
            "application/octet-stream": binary,
        },
    });
    let json_length = json!({
        "name": "Inference-Header-Content-Length",
        "in": "header",
        "description": "bytes of the JSON that a body begins with; 0 where all of it is one encoded image. Without it all is JSON",
        "schema": {"type": "integer", "minimum": 0},
    });
    let own = [
        kind::BAD_JSON_LENGTH,
        kind::BAD_INPUT,
        kind::BAD_DATA,
        kind::BAD_OUTPUT,
        kind::BAD_PARAMETER,
        kind::TOO_LARGE_BATCH,
        kind::UNSUPPORTED,
        Kind::of(Code::BadValues),
    ];
    Operation {
        parameters: vec![json_length, patience()],
        body: Some(body),
        answer,
        problems: [&OF_IMAGES[..], &OF_BODIES, &own].concat(),
        ..told(
            "infer",
            "Tensors or photos in, numbers or ranked classes out",
            "InferResponse",
        )
    }
}

/// A body that may be left out.
fn optional(schema: &Value) -> Option<Value> {
    Some(json!({"required": false, "content": {"application/json": {"schema": schema}}}))
}

/// `POST /v2/repository/index`.
pub(in crate::http) fn index() -> Operation {
    Operation {
        body: optional(&json!({
            "type": "object",
            "properties": {"ready": {"type": ["boolean", "null"], "description": "whether only models that are served are wanted"}},
        })),
        problems: [
            &OF_BODIES[..],
            &[
                kind::BAD_JSON,
                Kind::of(Code::NotReady),
                Kind::of(Code::DeadlineExceeded),
            ],
        ]
        .concat(),
        ..told(
            "index",
            "The models that are served, and those that can be loaded",
            "RepositoryIndex",
        )
    }
}

/// What an exchange of models can meet.
const OF_EXCHANGE: [Kind; 9] = [
    kind::BAD_JSON,
    kind::BAD_PARAMETER,
    kind::UNSUPPORTED,
    Kind::of(Code::NotReady),
    Kind::of(Code::ShuttingDown),
    Kind::of(Code::UnknownModel),
    Kind::of(Code::ModelsFixed),
    Kind::of(Code::ModelsBusy),
    Kind::of(Code::ModelRefused),
];

/// `POST /v2/repository/models/{model}/load`.
pub(in crate::http) fn load() -> Operation {
    Operation {
        body: optional(&json!({
            "type": "object",
            "properties": {"parameters": {"type": "object", "maxProperties": 0}},
            "additionalProperties": false,
        })),
        problems: [&OF_BODIES[..], &OF_EXCHANGE].concat(),
        ..told(
            "load",
            "Loads a model, or reads it again; where the server runs with --model-control",
            "ModelLoaded",
        )
    }
}

/// `POST /v2/repository/models/{model}/unload`.
pub(in crate::http) fn unload() -> Operation {
    Operation {
        body: optional(&json!({
            "type": "object",
            "properties": {"parameters": {
                "type": "object",
                "properties": {"unload_dependents": {"type": "boolean", "description": "without effect: nothing depends"}},
                "additionalProperties": false,
            }},
            "additionalProperties": false,
        })),
        problems: [&OF_BODIES[..], &OF_EXCHANGE].concat(),
        ..told("unload", "Unloads a model, likewise", "ModelUnloaded")
    }
}
