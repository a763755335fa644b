//! What the document tells of the routes that are our own, and of TorchServe's.

use serde_json::{Value, json};

use super::operation::{Operation, Tag, header, of_json, of_text};
use crate::desk::{Code, RequestLimits};
use crate::http::kind::{self, Kind};

/// What a request with images can meet at the desk and behind it, whatever its form.
pub(super) const OF_IMAGES: [Kind; 23] = [
    Kind::of(Code::BadTimeout),
    Kind::of(Code::UnknownModel),
    Kind::of(Code::UnknownVersion),
    Kind::of(Code::NotReady),
    Kind::of(Code::ShuttingDown),
    Kind::of(Code::QueueFull),
    Kind::of(Code::ClientQueueFull),
    Kind::of(Code::Overloaded),
    Kind::of(Code::Stuck),
    Kind::of(Code::BodyMemoryFull),
    Kind::of(Code::AnswerTooLarge),
    Kind::of(Code::DecodeMemoryFull),
    Kind::of(Code::OutOfMemory),
    Kind::of(Code::DeadlineExceeded),
    Kind::of(Code::EmptyBody),
    Kind::of(Code::UnsupportedMediaType),
    Kind::of(Code::ImageTruncated),
    Kind::of(Code::ImageCorrupt),
    Kind::of(Code::ImageUnsupported),
    Kind::of(Code::ImageTooManyPixels),
    Kind::of(Code::ImageDecodeTimeout),
    kind::UNSUPPORTED_CONTENT_ENCODING,
    kind::BAD_JSON,
];

/// What a question about a model can meet.
pub(super) const OF_MODEL: [Kind; 3] = [
    Kind::of(Code::NotReady),
    Kind::of(Code::UnknownModel),
    Kind::of(Code::UnknownVersion),
];

/// What reading a body can meet.
pub(super) const OF_BODIES: [Kind; 3] = [
    Kind::of(Code::BodyTooLarge),
    Kind::of(Code::BodyTimeout),
    Kind::of(Code::BodyIncomplete),
];

/// What a body in one of the forms of `/classify` can meet.
const OF_UPLOADS: [Kind; 4] = [
    kind::BAD_QUERY,
    kind::BAD_MULTIPART,
    kind::BAD_BASE64,
    kind::TOO_MANY_IMAGES,
];

/// What wishes beside the classes can meet.
const OF_WISHES: [Kind; 3] = [
    kind::NO_FEATURES,
    kind::OVERLAY_OF_SEVERAL,
    kind::OVERLAY_TOO_LARGE,
];

/// A PNG of 8×8 pixels, for examples that work.
pub(super) const SAMPLE: &str = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAIAQAAAADsdIMmAAAADklEQVR42mNYxRDKgIQBIUQD/TZLIakAAAAASUVORK5CYII=";

/// How long the client waits.
pub(super) fn patience() -> Value {
    json!({
        "name": "X-Request-Timeout-Ms",
        "in": "header",
        "description": "how long the client waits, in milliseconds from the request's head; it can only lower --request-timeout",
        "schema": {"type": "integer", "minimum": 1},
    })
}

fn query(name: &str, description: &str, schema: &Value) -> Value {
    json!({"name": name, "in": "query", "description": description, "schema": schema})
}

fn options() -> Vec<Value> {
    let text = json!({"type": "string", "minLength": 1});
    let count = json!({"type": "integer", "minimum": 1});
    vec![
        query(
            "model",
            "name of a served model; the default one without it. Where the path names one, only that",
            &text,
        ),
        query(
            "top_k",
            "classes in the answer, at most the model's; 5 without it",
            &count,
        ),
        query(
            "exif",
            "whether the image is turned upright by its EXIF orientation: `auto`, the default, or left as stored",
            &json!({"enum": ["auto", "ignore"]}),
        ),
        query(
            "timeout_ms",
            "as the header X-Request-Timeout-Ms; the shorter one counts",
            &count,
        ),
        patience(),
    ]
}

/// What may be wanted beside the classes.
fn wishes() -> [Value; 5] {
    [
        query(
            "explain",
            "`cam`: the answer shows where the model saw a class, by its class activation map",
            &json!({"enum": ["cam"]}),
        ),
        query(
            "explain_class",
            "the index of that class; the most probable one without it",
            &json!({"type": "integer", "minimum": 0}),
        ),
        query(
            "explain_image",
            "`png`: the answer is the explanation as a picture that lies over the upright photo, and nothing else",
            &json!({"enum": ["png"]}),
        ),
        query(
            "embedding",
            "whether the answer has the pooled features of the image, as they are or with length one",
            &json!({"enum": ["true", "normalized", "false"]}),
        ),
        query(
            "timing",
            "whether the answer says how long each stage took",
            &json!({"enum": ["true", "false"]}),
        ),
    ]
}

/// The forms of a body with images.
fn images(limits: &RequestLimits) -> Value {
    let RequestLimits {
        max_images,
        max_body_bytes,
        ..
    } = limits;
    let base64 = json!({
        "type": "string",
        "minLength": 4,
        "contentEncoding": "base64",
        "description": "an encoded image in the standard alphabet, with or without padding, line breaks, and `data:image/…;base64,` in front",
    });
    let image = json!({"type": "string", "format": "binary"});
    json!({
        "required": true,
        "description": format!(
            "An image is told by its first bytes: JPEG, PNG, WebP, GIF, TIFF, BMP, PNM, ICO, QOI, TGA, and \
             HEIC, AVIF and JPEG XL where the build has them. At most {max_body_bytes} bytes and {max_images} images."
        ),
        "content": {
            "application/octet-stream": {"schema": image},
            "application/json": {"schema": {"oneOf": [
                {
                    "type": "object",
                    "properties": {"image": base64},
                    "required": ["image"],
                    "additionalProperties": false,
                },
                {
                    "type": "object",
                    "properties": {"images": {
                        "type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": max_images,
                        "description": "as `image`, each; one that is wrong has its problem in the answer's list",
                    }},
                    "required": ["images"],
                    "additionalProperties": false,
                },
            ]}, "example": {"image": SAMPLE}},
            "multipart/form-data": {"schema": {
                "type": "object",
                "description": "an image in each field; the names `files`, `files[]`, `image`, `images` and `data` are taken too",
                "properties": {"file": {"type": "array", "items": image, "minItems": 1, "maxItems": max_images}},
                "required": ["file"],
            }},
        },
    })
}

/// `POST` and `PUT /classify`.
pub(in crate::http) fn classify(limits: &RequestLimits) -> Operation {
    let mut answer = of_json(
        "The classes of one image, or a list where several came or a list was sent.",
        "Classified",
    );
    answer["headers"]["Server-Timing"] = header("ServerTiming");
    answer["content"]["image/png"] = json!({"schema": {"type": "string", "format": "binary"}});
    Operation {
        id: "classify".into(),
        tag: Tag::Classification,
        summary: "Classes of one or more images",
        parameters: [options(), wishes().into()].concat(),
        body: Some(images(limits)),
        answer,
        problems: [&OF_IMAGES[..], &OF_BODIES, &OF_UPLOADS, &OF_WISHES].concat(),
    }
}

/// `POST` and `PUT /models/{name}/classify`.
pub(in crate::http) fn classify_with(limits: &RequestLimits) -> Operation {
    Operation {
        id: "classify_with".into(),
        summary: "Classes of one or more images, by this model",
        ..classify(limits)
    }
}

/// `GET /models`.
pub(in crate::http) fn models() -> Operation {
    Operation {
        id: "models".into(),
        tag: Tag::Models,
        summary: "The served models, and which is the default",
        parameters: Vec::new(),
        body: None,
        answer: of_json("All of them.", "Models"),
        problems: vec![Kind::of(Code::NotReady)],
    }
}

/// `GET /models/{name}`.
pub(in crate::http) fn model() -> Operation {
    Operation {
        id: "model".into(),
        summary: "One model with all its classes",
        answer: of_json("The model.", "Model"),
        problems: OF_MODEL.to_vec(),
        ..models()
    }
}

/// `POST` and `PUT /predictions/{model}`.
pub(in crate::http) fn predict(limits: &RequestLimits) -> Operation {
    let classify = classify(limits);
    let of_image = json!({
        "type": "object",
        "description": "the probability of each class's label, the most probable first",
        "additionalProperties": {"type": "number"},
    });
    Operation {
        id: "predict".into(),
        tag: Tag::TorchServe,
        summary: "Probabilities by label; a list where several images came",
        parameters: options(),
        problems: [&OF_IMAGES[..], &OF_BODIES, &OF_UPLOADS].concat(),
        answer: json!({
            "description": "One number a label.",
            "headers": {"Server-Timing": header("ServerTiming")},
            "content": {"application/json": {"schema": {
                "oneOf": [of_image, {"type": "array", "items": of_image}],
            }}},
        }),
        ..classify
    }
}

/// `GET /livez` and `/healthz`.
pub(in crate::http) fn live(id: &str) -> Operation {
    Operation {
        id: id.into(),
        tag: Tag::Health,
        summary: "Whether the process answers, and no thread is stuck",
        answer: of_text("It does.", "text/plain"),
        problems: vec![Kind::of(Code::Stuck)],
        ..models()
    }
}

/// `GET /readyz`.
pub(in crate::http) fn ready() -> Operation {
    Operation {
        summary: "Whether the models are loaded and the server is not stopping",
        problems: vec![Kind::of(Code::NotReady), Kind::of(Code::ShuttingDown)],
        ..live("ready")
    }
}

/// `GET /ping`.
pub(in crate::http) fn ping() -> Operation {
    Operation {
        id: "ping".into(),
        tag: Tag::TorchServe,
        summary: "As /readyz",
        answer: json!({
            "description": "It is ready.",
            "content": {"application/json": {"schema": {
                "type": "object",
                "properties": {"status": {"const": "Healthy"}},
                "required": ["status"],
                "additionalProperties": false,
            }}},
        }),
        ..ready()
    }
}

/// `GET /metrics`.
pub(in crate::http) fn metrics() -> Operation {
    let mut answer = of_text("All of them.", "text/plain");
    answer["content"]["application/openmetrics-text"] = json!({"schema": {"type": "string"}});
    Operation {
        summary: "The counters and gauges, as Prometheus reads them; with exemplars to who names OpenMetrics in Accept",
        answer,
        problems: Vec::new(),
        ..live("metrics")
    }
}

/// `GET /` where there is no page.
pub(in crate::http) fn index() -> Operation {
    Operation {
        id: "index".into(),
        tag: Tag::Documentation,
        summary: "Name, version and routes",
        answer: of_json("What there is.", "Index"),
        problems: Vec::new(),
        ..models()
    }
}

/// `GET /` where there is one.
pub(in crate::http) fn home() -> Operation {
    let mut answer = of_json("What there is; to a browser, the page.", "Index");
    answer["content"]["text/html"] = json!({"schema": {"type": "string"}});
    Operation {
        summary: "Name, version and routes; to a browser, which names `text/html` in Accept, the page to try photos on",
        answer,
        ..index()
    }
}

/// `GET /page/{file}`.
pub(in crate::http) fn page_file() -> Operation {
    let kinds = ["text/javascript", "text/css", "image/svg+xml", "image/jpeg"];
    let schema = json!({"schema": {"type": "string", "format": "binary"}});
    let content = kinds.map(|kind| (kind.to_owned(), schema.clone()));
    Operation {
        id: "page_file".into(),
        summary: "The files of the pages",
        answer: json!({
            "description": "The file.",
            "content": serde_json::Map::from_iter(content),
        }),
        problems: vec![kind::NO_SUCH_ROUTE],
        ..index()
    }
}

/// `GET /docs`.
pub(in crate::http) fn docs() -> Operation {
    Operation {
        id: "docs".into(),
        summary: "This document, for people",
        answer: of_text("The page.", "text/html"),
        ..index()
    }
}

/// `GET /openapi.json`.
pub(in crate::http) fn document() -> Operation {
    Operation {
        id: "document".into(),
        summary: "This document",
        answer: json!({
            "description": "The document: OpenAPI 3.1.",
            "content": {"application/json": {"schema": {"type": "object", "required": ["openapi", "info", "paths"]}}},
        }),
        ..index()
    }
}
