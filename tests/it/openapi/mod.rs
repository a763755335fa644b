//! The OpenAPI document at `/openapi.json`: every route and code is in it, it is that of docs/, and answers are as it
//! tells. `tests/clients/openapi` asks by it in ways that nobody here thought of.

mod schema;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use resnet::desk::Code;
use serde_json::{Value, json};

use crate::harness::{
    Answer, Process, Settings, TestServer, agent, fixture, fixture_bytes, multipart, tiny,
};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));

fn document() -> Value {
    SERVER.get("/openapi.json").ok()
}

/// What a reference leads to, or the value itself.
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).expect(reference),
        None => value,
    }
}

/// Path, method and what is told of it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, told)| (path.clone(), method.clone(), told.clone()))
    });
    all.collect()
}

/// A path of the document with names that are there.
fn filled(path: &str) -> String {
    let path = path.replace("{name}", "resnet18-tiny");
    let path = path.replace("{model}", "resnet18-tiny");
    path.replace("{version}", "1").replace("{file}", "app.js")
}

fn ask(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask_of(&SERVER, method, path, headers, body)
}

fn ask_of(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let mut request = ureq::http::Request::builder()
        .method(method.to_uppercase().as_str())
        .uri(server.url(path));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    Answer::of(match method {
        "post" | "put" => agent().run(request.body(body).unwrap()),
        _ => agent().run(request.body(()).unwrap()),
    })
}

#[test]
fn docs_have_the_document_of_a_server_with_the_default_limits() {
    let kept = fixture("../../docs/openapi.json");
    let kept: Value = serde_json::from_slice(&std::fs::read(kept).unwrap()).unwrap();
    let server = Process::start(&[]);
    let served = agent().get(format!("http://{}/openapi.json", server.address));
    let served = Answer::of(served.call());
    assert_eq!(served.header("content-type"), Some("application/json"));
    assert!(
        served.ok() == kept,
        "docs/openapi.json is another; curl -s http://127.0.0.1:8080/openapi.json | python3 -m json.tool --indent 1 --no-ensure-ascii > docs/openapi.json writes it anew"
    );
}

#[test]
fn every_route_is_told_with_its_methods_and_no_other() {
    let document = document();
    let told: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let index = SERVER.get("/").ok();
    let routes = index["routes"].as_array().unwrap().iter();
    let mut routes: BTreeSet<&str> = routes.map(|r| r.as_str().unwrap()).collect();
    routes.extend(["/", "/page/{file}"]);
    assert_eq!(told, routes);
    assert!(told.len() > 30, "{told:?}");
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let options = ask("options", &filled(&path), &[], b"");
        assert_eq!(options.status, 204, "{path}");
        let allow = options.header("allow").unwrap().to_lowercase();
        let methods = document["paths"][&path].as_object().unwrap();
        let allowed: BTreeSet<&str> = allow
            .split(',')
            .filter(|m| !["head", "options"].contains(m))
            .collect();
        let of_path: BTreeSet<&str> = methods.keys().map(String::as_str).collect();
        assert_eq!(allowed, of_path, "{path}");
        let answer = ask(&method, &filled(&path), &[], b"");
        assert_ne!(answer.status, 405, "{method} {path}");
        let status = answer.status.to_string();
        let responses = &operation["responses"];
        assert!(responses[&status].is_object(), "{method} {path}: {status}");
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert!(ids.insert(id), "{operation}");
        // What every generated client needs, and what the template of the path says.
        let parameters = operation["parameters"].as_array();
        let in_path = parameters
            .into_iter()
            .flatten()
            .filter(|p| p["in"] == "path");
        assert_eq!(in_path.count(), path.matches('{').count(), "{path}");
    }
}

#[test]
fn every_code_is_an_answer_of_some_route() {
    let document = document();
    let paths = document["paths"].to_string();
    let refusals = document["components"]["responses"].as_object().unwrap();
    for name in refusals.keys() {
        let reference = format!("#/components/responses/{name}\"");
        assert!(paths.contains(&reference), "nothing refers to {name}");
    }
    let text = document["components"]["responses"].to_string();
    for code in Code::ALL.map(Code::name) {
        assert!(text.contains(&format!("- `{code}`: ")), "{code}");
    }
    let codes = &document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"];
    for code in codes.as_array().unwrap() {
        let code = code.as_str().unwrap();
        // Those of what is no operation, and of gRPC.
        let elsewhere = ["method_not_allowed", "bad_message"].contains(&code);
        let told = text.contains(&format!("- `{code}`: "));
        assert_eq!(told, !elsewhere, "{code}");
        // And for people.
        let api = include_str!("../../../docs/API.md");
        let protocol = include_str!("../../../docs/OPEN_INFERENCE.md");
        let quoted = format!("`{code}`");
        assert!(
            api.contains(&quoted) || protocol.contains(&quoted),
            "{code}"
        );
    }
}

/// That an answer is one that the document tells of this operation: status, type, headers, body.
fn assert_told(document: &Value, method: &str, path: &str, answer: &Answer) {
    let told = &document["paths"][path][method]["responses"][answer.status.to_string()];
    let told = resolved(document, told);
    let what = format!("{method} {path} {}", answer.status);
    assert!(told.is_object(), "{what} is not told: {answer:?}");
    for (name, header) in told["headers"].as_object().unwrap() {
        let header = resolved(document, header);
        let there = answer.header(&name.to_lowercase()).is_some();
        assert!(there || header["required"] != true, "{what} has no {name}");
    }
    let kind = answer.header("content-type").unwrap();
    let kind = kind.split(';').next().unwrap();
    let content = &told["content"][kind];
    assert!(content.is_object(), "{what} is {kind}");
    if kind.ends_with("json") {
        let breach = schema::breach(document, &content["schema"], &answer.json());
        assert_eq!(breach, None, "{what}");
    }
}

#[test]
fn answers_are_as_the_document_tells() {
    let document = document();
    for (path, method, _) in operations(&document) {
        let answer = ask(&method, &filled(&path), &[], b"");
        assert_told(&document, &method, &path, &answer);
        let named = path
            .replace("{name}", "nobody")
            .replace("{model}", "nobody");
        if named != path {
            let path_of_nobody = named.replace("{version}", "1");
            let answer = ask(&method, &path_of_nobody, &[], b"{}");
            assert_told(&document, &method, &path, &answer);
            let escapes = path.replace("{name}", "%FF").replace("{model}", "%FF");
            let answer = ask(&method, &escapes.replace("{version}", "%FF"), &[], b"");
            assert_eq!(answer.status, 400, "{path}");
            assert_told(&document, &method, &path, &answer);
        }
    }
    let photo = fixture_bytes("photos/espresso.png");
    let (form, several) = multipart(&[("file", &photo), ("file", b"no image")]);
    for path in ["/classify", "/predictions/{model}"] {
        let real = filled(path);
        for (query, kind, body) in [
            ("", "application/octet-stream", &photo),
            ("?top_k=200&exif=ignore", "image/png", &photo),
            ("", &form, &several),
            ("?top_k=0", "image/png", &photo),
            ("?timeout_ms=x", "image/png", &photo),
            ("", "application/json", &photo),
            ("", "image/png", &b"no image".to_vec()),
            ("", "image/png", &photo[..900].to_vec()),
        ] {
            let headers = [("content-type", kind)];
            let answer = ask("post", &format!("{real}{query}"), &headers, body);
            assert_told(&document, "post", path, &answer);
        }
    }
    for query in [
        "?explain=cam&embedding=true",
        "?explain=cam&explain_class=3",
        "?explain_image=png",
        "?explain=x",
    ] {
        for (kind, body) in [("image/png", &photo), (&form, &several)] {
            let headers = [("content-type", kind)];
            let answer = ask("post", &format!("/classify{query}"), &headers, body);
            assert_told(&document, "post", "/classify", &answer);
        }
    }
    let infer = "/v2/models/{model}/infer";
    let tensor = |side: usize| {
        let data = vec![0.5; 3 * side * side];
        json!({"id": "x", "inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 3, side, side], "data": data}]})
    };
    let mut lines = tensor(64);
    lines["outputs"] = json!([{"name": "logits", "parameters": {"classification": 3}}]);
    let mut binary = tensor(64);
    binary["outputs"] =
        json!([{"name": "logits", "parameters": {"binary_data": true}}, {"name": "probabilities"}]);
    for message in [tensor(64), tensor(63), lines, binary, json!({}), json!([])] {
        let answer = ask("post", &filled(infer), &[], message.to_string().as_bytes());
        assert_told(&document, "post", infer, &answer);
    }
    // With figures in them.
    for path in [
        "/v2/models/stats",
        "/models",
        "/models/{name}",
        "/v2/models/{model}/config",
    ] {
        assert_told(&document, "get", path, &ask("get", &filled(path), &[], b""));
    }
    let page = ask("get", "/", &[("accept", "text/html")], b"");
    assert_told(&document, "get", "/", &page);
}

#[test]
fn schemas_are_seen_to_be_broken() {
    let document = document();
    let broken = |name: &str, value: Value| {
        let schema = json!({"$ref": format!("#/components/schemas/{name}")});
        schema::breach(&document, &schema, &value)
    };
    assert_eq!(broken("ServerLive", json!({"live": true})), None);
    for (name, value) in [
        ("ServerLive", json!({"live": false})),
        ("ServerLive", json!({})),
        ("ServerLive", json!({"live": true, "ready": true})),
        ("ModelNames", json!({"models": "x"})),
        ("ModelNames", json!({"models": [1]})),
        ("Counted", json!({"count": -1, "ns": 0})),
        ("Counted", json!({"count": 0.5, "ns": 0})),
        ("OutputKind", json!("sums")),
        ("Classified", json!({"model": "x", "results": []})),
    ] {
        assert!(broken(name, value.clone()).is_some(), "{name}: {value}");
    }
}

#[test]
fn document_and_its_page_need_no_key_and_load_nothing_from_elsewhere() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let keys = resnet::desk::KeySet::parse("test", "alice:alices-very-own-key-1");
    server.desk.set_keys(keys.unwrap());
    let document = server.get("/openapi.json").ok();
    for (path, method, operation) in operations(&document) {
        let is_open = operation["security"].is_null();
        let answer = ask_of(&server, &method, &filled(&path), &[], b"");
        assert_eq!(answer.status != 401, is_open, "{method} {path}");
        assert_told(&document, &method, &path, &answer);
    }
    let page = server.get("/docs");
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    let html = String::from_utf8(page.body).unwrap();
    assert!(!html.contains("<style") && !html.contains("://"), "{html}");
    let named = html.split('"').filter(|word| word.starts_with("page/"));
    let named: Vec<&str> = named.collect();
    assert!(named.contains(&"page/docs.js"), "{named:?}");
    for file in named {
        assert_eq!(server.get(&format!("/{file}")).status, 200, "{file}");
    }
}
