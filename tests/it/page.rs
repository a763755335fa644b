//! The page at `/` as a browser gets it, and as programs do not. `tests/page` drives it in a real browser.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest, Sha256};

use crate::harness::{Answer, Settings, TestServer, agent, tiny};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));

fn get(path: &str, accept: &str) -> Answer {
    let request = agent().get(SERVER.url(path)).header("Accept", accept);
    Answer::of(request.call())
}

#[test]
fn browsers_get_a_page_that_may_load_only_its_own_files() {
    let page = get("/", BROWSER);
    assert_eq!(page.status, 200);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(page.header("vary"), Some("Accept"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    let policy = page.header("content-security-policy").unwrap();
    assert!(
        policy.starts_with("default-src 'self';") && !policy.contains("unsafe"),
        "{policy}"
    );
    let html = String::from_utf8(page.body.clone()).unwrap();
    // Of what is in the text the policy lets in a style sheet of that digest; scripts and other styles would break it.
    let (_, style) = html.split_once("<style>").unwrap();
    let (style, rest) = style.split_once("</style>").unwrap();
    let digest = BASE64_STANDARD.encode(Sha256::digest(style));
    let styles = format!("; style-src 'self' 'sha256-{digest}'");
    assert!(policy.ends_with(&styles), "{policy}");
    assert!(!rest.contains("<style") && !html.contains(" style=") && !html.contains(" onclick="));
    let index = get("/", "*/*");
    assert_eq!(index.header("vary"), Some("Accept"));
    assert_eq!(index.json()["name"], "resnet");
    let index = get("/", "application/json, text/html;q=0.5");
    assert_eq!(index.json()["name"], "resnet");
    assert_eq!(
        get("/", "application/json").json()["usage"],
        "POST or PUT an image to /classify"
    );
}

#[test]
fn every_file_that_the_page_names_is_there() {
    let html = String::from_utf8(get("/", BROWSER).body).unwrap();
    let named: Vec<&str> = html
        .split('"')
        .filter(|word| word.starts_with("page/"))
        .collect();
    assert!(named.len() >= 5, "{named:?}");
    let mut files: Vec<String> = named.iter().map(|name| format!("/{name}")).collect();
    let mut seen = 0;
    while let Some(path) = files.get(seen).cloned() {
        seen += 1;
        let file = get(&path, "*/*");
        assert_eq!(file.status, 200, "{path}");
        let media_type = match path.rsplit('.').next() {
            Some("js") => "text/javascript; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("svg") => "image/svg+xml",
            _ => "image/jpeg",
        };
        assert_eq!(file.header("content-type"), Some(media_type), "{path}");
        // What a script imports lies beside it.
        let text = String::from_utf8_lossy(&file.body);
        let imports = text.split('"').filter_map(|word| word.strip_prefix("./"));
        for import in imports.map(|name| format!("/page/{name}")) {
            if !files.contains(&import) {
                files.push(import);
            }
        }
    }
    assert_eq!(files.iter().filter(|name| name.ends_with(".js")).count(), 9);
}

#[test]
fn samples_are_photos_that_the_server_knows() {
    for (name, class) in [
        ("espresso", "espresso"),
        ("orange", "orange"),
        ("trolleybus", "trolleybus"),
    ] {
        let photo = get(&format!("/page/{name}.jpg"), "image/*");
        let answer = SERVER.post("/classify", &photo.body).ok();
        let classes = answer["predictions"].as_array().unwrap();
        assert!(classes.iter().any(|p| p["label"] == class), "{answer}");
    }
}

#[test]
fn what_is_no_file_of_the_page_is_404() {
    for path in [
        "/page/nope.js",
        "/page/",
        "/page",
        "/page/a/b",
        "/page/..%2Fmod.rs",
        "/page/mod.rs",
    ] {
        let answer = get(path, BROWSER);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (404, "no_such_route"),
            "{path}"
        );
    }
    let script = get("/page/%3Cscript%3Ealert(1)%3C%2Fscript%3E", BROWSER);
    assert_eq!(
        script.header("content-type"),
        Some("application/problem+json")
    );
}
