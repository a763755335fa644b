//! JSON Schemas of the bodies, under the names by which operations refer to them.
//!
//! A member that an answer has and its schema has not is an error: tests compare real answers with these.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::operation::reference;
use crate::desk::Code;
use crate::http::kind::OF_PROTOCOLS;
use crate::oip::EXTENSIONS;

/// All schemas of the document, by their names.
pub(super) fn all() -> Value {
    let mut all = Map::new();
    for part in [
        errors(),
        classes(),
        models(),
        protocol(),
        inference(),
        statistics(),
    ] {
        let Value::Object(part) = part else { continue };
        all.extend(part);
    }
    Value::Object(all)
}

/// An object with these members and no others; the optional ones may be absent.
fn object(required: Value, optional: Value) -> Value {
    let (Value::Object(mut properties), Value::Object(optional)) = (required, optional) else {
        return Value::Null;
    };
    let required: Vec<String> = properties.keys().cloned().collect();
    properties.extend(optional);
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An object with all of these members.
fn whole(members: Value) -> Value {
    object(members, json!({}))
}

fn text() -> Value {
    json!({"type": "string"})
}

/// A whole number from 0.
fn count() -> Value {
    json!({"type": "integer", "minimum": 0})
}

fn list(items: Value) -> Value {
    let mut list = json!({"type": "array"});
    list["items"] = items;
    list
}

fn errors() -> Value {
    let of_any = Code::ALL.into_iter().map(Code::name);
    let codes: BTreeSet<&str> = of_any.chain(OF_PROTOCOLS.iter().map(|k| k.code)).collect();
    let required = json!({
        "type": {"type": "string", "pattern": "^urn:resnet:problem:[a-z0-9_]+$"},
        "title": text(),
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": {"type": "string", "description": "for people; may change"},
        "code": {"enum": codes, "description": "stable: what programs match on"},
    });
    let optional = json!({
        "request_id": text(),
        "estimated_wait_ms": {"type": "number", "minimum": 0, "description": "the estimated wait for a worker, where the request was refused for it"},
    });
    json!({
        "Problem": object(required, optional),
        "Error": whole(json!({"error": text()})),
    })
}

fn classes() -> Value {
    let prediction = object(
        json!({
            "class_index": count(),
            "label": {"type": "string", "description": "the short name"},
            "synset": {"type": "string", "description": "all names of the class"},
            "probability": {"type": "number", "description": "0 to 1; of scores the model's own number"},
        }),
        json!({"wnid": {"type": "string", "description": "WordNet id"}}),
    );
    let side = json!({"type": "integer", "minimum": 1});
    let image = whole(json!({"format": text(), "width": side, "height": side}));
    let ranking = json!({
        "predictions": {"type": "array", "items": reference("Prediction"), "minItems": 1},
        "output_kind": reference("OutputKind"),
    });
    let length = json!({"type": "number", "minimum": 0});
    let explanation = object(
        json!({
            "method": {"const": "cam"},
            "class_index": count(),
            "label": text(),
            "synset": text(),
            "map": {
                "type": "array",
                "minItems": 1,
                "items": {"type": "array", "items": {"type": "number"}, "minItems": 1},
                "description": "how much each place speaks for the class: rows from the top of the rectangle",
            },
            "rectangle": reference("Rectangle"),
        }),
        json!({"wnid": {"type": "string", "description": "WordNet id"}}),
    );
    let rectangle = json!({"x": length, "y": length, "width": length, "height": length});
    let of_image = json!({
        "image": reference("Image"),
        "explanation": reference("Explanation"),
        "embedding": {"type": "array", "items": {"type": "number"}, "minItems": 1},
        "timing": reference("Timing"),
    });
    let timing = whole(json!({
        "read_ms": length, "decode_ms": length, "preprocess_ms": length, "queue_ms": length, "infer_ms": length,
        "batch_size": {"type": "integer", "minimum": 1},
    }));
    let mut one = ranking.clone();
    one["model"] = text();
    json!({
        "Prediction": prediction,
        "OutputKind": {"enum": ["logits", "probabilities", "scores"]},
        "Image": image,
        "Rectangle": whole(rectangle),
        "Explanation": explanation,
        "Timing": timing,
        "Answer": object(one, of_image.clone()),
        "AnswerOfMany": object(ranking, of_image),
        "Answers": whole(json!({
            "model": text(),
            "results": {"type": "array", "minItems": 1, "items": {"oneOf": [reference("AnswerOfMany"), reference("Problem")]}},
        })),
        "Classified": {"oneOf": [reference("Answer"), reference("Answers")]},
    })
}

fn models() -> Value {
    let side = json!({"type": "integer", "minimum": 1});
    let size = json!({
        "description": "a square's side, or height and width",
        "oneOf": [side, {"type": "array", "items": side, "minItems": 2, "maxItems": 2}],
    });
    let channels =
        json!({"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3});
    let preprocess = whole(json!({
        "resize": size,
        "resize_mode": {"enum": ["shorter-side", "stretch", "cover"]},
        "interpolation": {"enum": ["bilinear", "bicubic"]},
        "crop": size,
        "crop_rounding": {"enum": ["half-even", "down"]},
        "channels": {"enum": ["rgb", "bgr"]},
        "scale": {"type": "number"},
        "mean": channels,
        "std": channels,
    }));
    let class = object(
        json!({"class_index": count(), "label": text(), "synset": text()}),
        json!({"wnid": text()}),
    );
    let model = object(
        json!({
            "name": text(),
            "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "bytes": count(),
            "input": whole(json!({
                "name": text(),
                "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}, "minItems": 4, "maxItems": 4},
                "datatype": {"const": "FP32"},
            })),
            "preprocess": reference("Preprocess"),
            "output": whole(json!({"name": text(), "kind": reference("OutputKind"), "classes": count()})),
            "runtime": text(),
            "precision": {"enum": ["f32", "bf16x3", "bf16", "int8"]},
            "precision_reason": text(),
            "instructions": text(),
        }),
        json!({
            "license": text(),
            "features": {
                "allOf": [whole(json!({"channels": count(), "height": count(), "width": count()}))],
                "description": "extents of its last feature map; of a model that has explanations and embeddings",
            },
            "classes": {"type": "array", "items": class, "description": "of one model that was asked for by name"},
        }),
    );
    json!({
        "Preprocess": preprocess,
        "Model": model,
        "Models": whole(json!({"default": text(), "models": list(reference("Model"))})),
        "Index": whole(json!({
            "name": {"const": "resnet"},
            "version": text(),
            "usage": text(),
            "routes": list(text()),
        })),
    })
}

fn protocol() -> Value {
    let tensor = whole(json!({
        "name": text(),
        "datatype": {"const": "FP32"},
        "shape": list(json!({"type": "integer", "minimum": -1})),
    }));
    let of_config = list(whole(json!({
        "name": text(),
        "data_type": {"const": "TYPE_FP32"},
        "dims": list(count()),
    })));
    let config = whole(json!({
        "name": text(),
        "platform": text(),
        "backend": text(),
        "version_policy": whole(json!({"specific": whole(json!({"versions": list(count())}))})),
        "max_batch_size": count(),
        "input": of_config,
        "output": of_config,
        "dynamic_batching": whole(json!({
            "preferred_batch_size": list(count()),
            "max_queue_delay_microseconds": count(),
        })),
    }));
    let entry = json!({
        "name": text(),
        "version": text(),
        "state": {"enum": ["READY", "UNAVAILABLE"]},
        "reason": text(),
    });
    let yes = json!({"const": true});
    json!({
        "ServerMetadata": whole(json!({
            "name": {"const": "resnet"},
            "version": text(),
            "extensions": list(json!({"enum": EXTENSIONS})),
        })),
        "ServerLive": whole(json!({"live": yes})),
        "ServerReady": whole(json!({"ready": yes})),
        "ModelNames": whole(json!({"models": list(text())})),
        "ModelReady": whole(json!({"name": text(), "ready": yes})),
        "TensorMetadata": tensor,
        "ModelMetadata": whole(json!({
            "name": text(),
            "versions": {"type": "array", "items": text(), "minItems": 1},
            "platform": text(),
            "inputs": list(reference("TensorMetadata")),
            "outputs": list(reference("TensorMetadata")),
            "properties": {"type": "object", "additionalProperties": text()},
        })),
        "ModelConfig": config,
        "RepositoryIndex": list(whole(entry)),
        "ModelLoaded": whole(json!({"name": text(), "load": yes})),
        "ModelUnloaded": whole(json!({"name": text(), "unload": yes})),
    })
}

fn inference() -> Value {
    let value = json!({"type": ["string", "number", "boolean"]});
    // The parameters that are known; others mean nothing.
    let parameters = |known: Value| json!({"type": "object", "properties": known, "additionalProperties": value});
    let input = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "the input's name in the metadata, or `input`"},
            "datatype": {"enum": ["FP32", "UINT8", "BYTES"], "description": "tensor, pixels or encoded images"},
            "shape": list(json!({"type": "integer", "minimum": 1})),
            "parameters": parameters(json!({"binary_data_size": count()})),
            "data": {"type": "array", "description": "numbers or base64 in one flat list, or in lists nested to the shape"},
        },
        "required": ["name", "datatype", "shape"],
    });
    let output = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "`logits`, `probabilities`, `scores`, `features` or `feature_map`, as the metadata lists them"},
            "parameters": parameters(json!({
                "binary_data": {"type": "boolean"},
                "classification": {"type": "integer", "minimum": 1},
            })),
        },
        "required": ["name"],
    });
    let of_answer = object(
        json!({
            "name": text(),
            "datatype": {"enum": ["FP32", "BYTES"]},
            "shape": list(count()),
        }),
        json!({
            "data": list(json!({"type": ["number", "string"]})),
            "parameters": whole(json!({"binary_data_size": count()})),
        }),
    );
    json!({
        "InferRequest": {
            "type": "object",
            "properties": {
                "id": text(),
                "parameters": parameters(json!({
                    "timeout": {"type": "integer", "minimum": 0, "description": "how long the client waits, in microseconds; 0 is none"},
                    "priority": {"type": "integer", "minimum": 0, "description": "without effect"},
                    "binary_data_output": {"type": "boolean"},
                    "exif": {"enum": ["auto", "ignore"]},
                })),
                "inputs": {"type": "array", "items": reference("InferInput"), "minItems": 1, "maxItems": 1},
                "outputs": {"type": "array", "items": reference("InferRequestedOutput"), "maxItems": 64},
            },
            "required": ["inputs"],
        },
        "InferInput": input,
        "InferRequestedOutput": output,
        "InferOutput": of_answer,
        "InferResponse": object(
            json!({"model_name": text(), "model_version": text(), "outputs": list(reference("InferOutput"))}),
            json!({"id": text()}),
        ),
    })
}

fn statistics() -> Value {
    let names = [
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    ];
    let counted = |names: &[&str]| -> Value {
        let member = |name: &&str| ((*name).to_owned(), reference("Counted"));
        Value::Object(names.iter().map(member).collect())
    };
    let mut batch = counted(&["compute_input", "compute_infer", "compute_output"]);
    batch["batch_size"] = count();
    json!({
        "Counted": whole(json!({"count": count(), "ns": count()})),
        "Statistics": whole(json!({"model_stats": list(reference("ModelStatistics"))})),
        "ModelStatistics": whole(json!({
            "name": text(),
            "version": text(),
            "last_inference": {"type": "integer", "minimum": 0, "description": "milliseconds since 1970; 0 if it never answered"},
            "inference_count": count(),
            "execution_count": count(),
            "inference_stats": whole(counted(&names)),
            "response_stats": {"type": "object"},
            "batch_stats": list(whole(batch)),
            "memory_usage": {"type": "array"},
        })),
    })
}
