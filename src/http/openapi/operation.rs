//! One method of a route as the document has it: parameters, body, answers, and every problem that it can meet.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::desk::Code;
use crate::http::kind::{self, Kind};
use crate::http::oip;
use crate::http::route::Purpose;

/// What is told of one method of a route.
#[derive(Debug, Clone)]
pub(in crate::http) struct Operation {
    /// Its name for generated clients.
    pub(super) id: String,
    pub(super) tag: Tag,
    pub(super) summary: &'static str,
    /// The parameters in query and head; those in the path are told by its template.
    pub(super) parameters: Vec<Value>,
    pub(super) body: Option<Value>,
    /// The answer of status 200.
    pub(super) answer: Value,
    /// The problems that it can meet, beside those that every route can.
    pub(super) problems: Vec<Kind>,
}

/// A group of operations.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) enum Tag {
    Classification,
    Models,
    InferenceProtocol,
    TorchServe,
    Health,
    Documentation,
}

impl Tag {
    const ALL: [Tag; 6] = [
        Tag::Classification,
        Tag::Models,
        Tag::InferenceProtocol,
        Tag::TorchServe,
        Tag::Health,
        Tag::Documentation,
    ];

    fn name(self) -> &'static str {
        self.row().0
    }

    fn row(self) -> (&'static str, &'static str) {
        match self {
            Tag::Classification => ("classification", "Photos in, classes out."),
            Tag::Models => ("models", "What is served."),
            Tag::InferenceProtocol => (
                "open inference protocol",
                "Version 2 of the protocol that KServe and Triton speak, with the extensions that `/v2` lists.",
            ),
            Tag::TorchServe => ("torchserve", "TorchServe's calls."),
            Tag::Health => (
                "health",
                "What orchestrators, balancers and Prometheus ask; no key is needed.",
            ),
            Tag::Documentation => ("documentation", "What there is; no key is needed."),
        }
    }
}

/// The groups, in the order in which one reads them.
pub(super) fn tags() -> Value {
    let tag = |tag: Tag| {
        let (name, description) = tag.row();
        json!({"name": name, "description": description})
    };
    Tag::ALL.into_iter().map(tag).collect()
}

/// Headers of answers.
pub(super) fn headers() -> Value {
    let text =
        |description: &str| json!({"description": description, "schema": {"type": "string"}});
    json!({
        "RequestId": {
            "description": "the request's id, also in the log and in problems",
            "required": true,
            "schema": {"type": "string", "minLength": 1, "maxLength": 128},
        },
        "RetryAfter": {
            "description": "seconds to wait before the next try",
            "required": true,
            "schema": {"type": "integer", "minimum": 1},
        },
        "Authenticate": {
            "description": "that a key is needed",
            "required": true,
            "schema": {"type": "string", "const": "Bearer realm=\"resnet\""},
        },
        "ServerTiming": text("milliseconds of `read`, `decode`, `preprocess`, `queue`, `infer`, `respond`, and the size of the batch; of several images the longest and the largest"),
        "JsonLength": {
            "description": "bytes of JSON before the numbers; there where numbers follow",
            "schema": {"type": "integer", "minimum": 1},
        },
    })
}

/// The problems that any route can meet.
const ANYWHERE: [Kind; 2] = [kind::BAD_HEAD, Kind::of(Code::Internal)];

impl Operation {
    /// The same operation for another path or method, with the suffix behind its id.
    pub(in crate::http) fn suffixed(self, suffix: &str) -> Operation {
        Operation {
            id: self.id + suffix,
            ..self
        }
    }

    /// The operation as the document has it, on this path; its refusals go to `refusals`.
    pub(super) fn written(&self, path: &str, purpose: Purpose, refusals: &mut Refusals) -> Value {
        let mut parameters: Vec<Value> = in_path(path).map(path_parameter).collect();
        let mut problems = self.problems.clone();
        problems.extend(ANYWHERE);
        if !parameters.is_empty() {
            problems.push(kind::BAD_URL);
        }
        parameters.extend(self.parameters.iter().cloned());
        let mut written = json!({
            "operationId": self.id,
            "tags": [self.tag.name()],
            "summary": self.summary,
        });
        if purpose.needs_key() {
            problems.push(Kind::of(Code::Unauthorized));
            // Where the server has no keys, none is needed.
            written["security"] = json!([{"bearer": []}, {"key": []}, {}]);
        }
        if !parameters.is_empty() {
            written["parameters"] = parameters.into();
        }
        if let Some(body) = &self.body {
            written["requestBody"] = body.clone();
        }
        let mut answers = refusals.of(&problems, oip::is_its(path));
        let mut answer = self.answer.clone();
        answer["headers"]["X-Request-Id"] = header("RequestId");
        answers.insert("200".into(), answer);
        written["responses"] = Value::Object(answers);
        written
    }
}

/// The names in the braces of a path.
fn in_path(path: &str) -> impl Iterator<Item = &str> {
    let ends = path.split('{').skip(1);
    ends.filter_map(|end| end.split_once('}').map(|(name, _)| name))
}

fn path_parameter(name: &str) -> Value {
    let (description, example) = match name {
        "name" | "model" => ("name of a model", "resnet18-tiny"),
        "version" => ("a version of it, as its metadata lists them", "1"),
        _ => ("name of a file", "style.css"),
    };
    json!({
        "name": name,
        "in": "path",
        "required": true,
        "description": description,
        "schema": {"type": "string", "minLength": 1},
        "example": example,
    })
}

/// The answers that are problems, each written once: many operations refuse for the same reasons.
#[derive(Default)]
pub(super) struct Refusals {
    written: Map<String, Value>,
}

impl Refusals {
    /// References to those of these problems, by their status.
    fn of(&mut self, problems: &[Kind], is_of_protocol: bool) -> Map<String, Value> {
        let mut by_status: BTreeMap<u16, Vec<Kind>> = BTreeMap::new();
        for problem in problems {
            let same = by_status.entry(problem.status.as_u16()).or_default();
            if !same.contains(problem) {
                same.push(*problem);
            }
        }
        let entry = |(status, mut kinds): (u16, Vec<Kind>)| {
            kinds.sort_by_key(|kind| kind.code);
            let answer = refusal(status, &kinds, is_of_protocol);
            let name = self.name(status, answer);
            let reference = format!("#/components/responses/{name}");
            (status.to_string(), json!({"$ref": reference}))
        };
        by_status.into_iter().map(entry).collect()
    }

    /// The name of an answer, which is written under it.
    fn name(&mut self, status: u16, answer: Value) -> String {
        let names = (1..).map(|n| format!("Refusal{status}-{n}"));
        let free = |name: &String| self.written.get(name).is_none_or(|a| *a == answer);
        let name = { names }.find(free).unwrap_or_default();
        self.written.insert(name.clone(), answer);
        name
    }

    /// All refusals that were written, by their names.
    pub(super) fn all(self) -> Value {
        Value::Object(self.written)
    }
}

fn refusal(status: u16, kinds: &[Kind], is_of_protocol: bool) -> Value {
    let lines = kinds.iter().map(|k| format!("- `{}`: {}", k.code, k.title));
    let description = lines.collect::<Vec<_>>().join("\n");
    let codes: Vec<&str> = kinds.iter().map(|k| k.code).collect();
    let content = match is_of_protocol {
        true => json!({"application/json": {"schema": reference("Error")}}),
        false => json!({"application/problem+json": {"schema": {
            "allOf": [reference("Problem")],
            "properties": {"status": {"const": status}, "code": {"enum": codes}},
            "required": ["request_id"],
        }}}),
    };
    let mut headers = json!({"X-Request-Id": header("RequestId")});
    match status {
        401 => headers["WWW-Authenticate"] = header("Authenticate"),
        503 => headers["Retry-After"] = header("RetryAfter"),
        _ => {}
    }
    json!({"description": description, "headers": headers, "content": content})
}

/// A schema of the document's own.
pub(super) fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// A header of the document's own.
pub(super) fn header(name: &str) -> Value {
    json!({"$ref": format!("#/components/headers/{name}")})
}

/// An answer of JSON.
pub(super) fn of_json(description: &str, schema: &str) -> Value {
    json!({
        "description": description,
        "content": {"application/json": {"schema": reference(schema)}},
    })
}

/// An answer of something else.
pub(super) fn of_text(description: &str, media_type: &str) -> Value {
    json!({
        "description": description,
        "content": {media_type: {"schema": {"type": "string"}}},
    })
}
