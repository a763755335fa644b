//! Requests as proptest makes them: mostly well-formed, with every kind of body, and damaged ones.

use std::io::Write;
use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::select;

use crate::harness::{fixture_bytes, multipart};

static IMAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let names = [
        "1x1.png",
        "1x1.gif",
        "baseline_420.jpg",
        "progressive.jpg",
        "lossy.webp",
        "espresso_299.jpg",
    ];
    names
        .map(|name| fixture_bytes(&format!("images/{name}")))
        .to_vec()
});

/// A request.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    framing: Framing,
    /// Edits of the head's bytes: where, and what is put there.
    pub(super) damage: Vec<(usize, Damage)>,
}

/// How the body's end is told.
#[derive(Debug, Clone)]
enum Framing {
    Length,
    /// Chunks of so many bytes.
    Chunks(usize),
    /// A length that is so much wrong.
    WrongLength(i64),
}

/// An edit of one byte.
#[derive(Debug, Clone)]
pub(super) enum Damage {
    Replace(u8),
    Insert(u8),
    Remove,
}

/// Any of them.
pub(super) fn any_request() -> impl Strategy<Value = Sent> {
    let method = prop_oneof![
        24 => Just("POST".to_owned()),
        2 => Just("PUT".to_owned()),
        4 => select(vec!["GET", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "post"]).prop_map(str::to_owned),
        1 => "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,40}",
    ];
    let framing = prop_oneof![
        12 => Just(Framing::Length),
        6 => (1_usize..5000).prop_map(Framing::Chunks),
        1 => (-50_i64..3).prop_map(Framing::WrongLength),
    ];
    let damage = prop_oneof![
        4 => Just(Vec::new()),
        1 => prop::collection::vec((any::<usize>(), any_damage()), 1..4),
    ];
    (
        method,
        any_target(),
        any_fields(),
        any_body(),
        framing,
        damage,
    )
        .prop_map(
            |(method, target, mut fields, (content_type, body), framing, damage)| {
                fields.extend(content_type.map(|t| ("Content-Type".to_owned(), t)));
                Sent {
                    method,
                    target,
                    fields,
                    body,
                    framing,
                    damage,
                }
            },
        )
}

fn any_damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<u8>().prop_map(Damage::Replace),
        any::<u8>().prop_map(Damage::Insert),
        Just(Damage::Remove),
    ]
}

fn any_target() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        10 => Just("/classify".to_owned()),
        3 => Just("/models/resnet18-tiny/classify".to_owned()),
        3 => select(vec!["/", "/livez", "/readyz", "/models", "/models/resnet18-tiny", "/metrics", "*", "/classify/",
            "//classify", "/models/../classify", "/models/%2e%2e/classify", "/models/%ff/classify", "/%00",
            "/models//classify", "http://x/classify", "http://x:99999/", "classify"]).prop_map(str::to_owned),
        2 => "/models/[ -~&&[^ #?:]]{1,90}/classify",
        2 => "/[ -~&&[^ #?:]]{0,200}",
    ];
    let parameter = prop_oneof![
        4 => select(vec!["top_k=1", "top_k=200", "top_k=0", "top_k=-1", "top_k=", "top_k=99999999999999999999",
            "model=resnet18-tiny", "model=", "model=nope", "model=%00", "exif=ignore", "exif=auto", "exif=no", "timeout=1",
            "%ff=%ff", "%", "=", "top_k", "&&"]).prop_map(str::to_owned),
        1 => "[ -~&&[^ #:]]{0,100}",
    ];
    let query = prop_oneof![
        2 => Just(Vec::new()),
        1 => prop::collection::vec(parameter, 1..3),
    ];
    (path, query).prop_map(|(path, query)| match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    })
}

fn any_fields() -> impl Strategy<Value = Vec<(String, String)>> {
    let known = select(vec![
        ("Expect", "100-continue"),
        ("Content-Encoding", "gzip"),
        ("Content-Encoding", "identity"),
        ("X-Request-Id", "an-id"),
        ("X-Request-Id", "<not plain>"),
        ("X-Request-Timeout-Ms", "60000"),
        ("X-Request-Timeout-Ms", "-1"),
        ("X-Request-Timeout-Ms", "soon"),
        ("Authorization", "Bearer x"),
        ("Accept", "text/html"),
        ("Range", "bytes=0-1"),
        ("Upgrade", "h2c"),
        ("If-None-Match", "*"),
        ("Origin", "http://elsewhere.example"),
        ("Content-Type", "image/png; charset=\"utf"),
    ]);
    let known = known.prop_map(|(n, v)| (n.to_owned(), v.to_owned()));
    let random = ("X-[A-Za-z0-9]{1,20}", "[ -~&&[^:]]{0,100}");
    prop::collection::vec(prop_oneof![2 => known, 1 => random], 0..4)
}

/// A content type, or none, and a body.
fn any_body() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let content_type = prop_oneof![
        Just(None),
        select(vec![
            "image/jpeg",
            "text/plain",
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=XyZ",
            "multipart/form-data; boundary=\"",
            "application/json; charset=utf-16",
            ";;"
        ])
        .prop_map(|t| Some(t.to_owned())),
    ];
    let form = prop::collection::vec(
        (
            select(vec![
                "file", "image", "images", "data", "comment", "", "a\"b",
            ]),
            any_image(),
        ),
        0..5,
    );
    let form = form
        .prop_map(|parts| {
            let parts: Vec<(&str, &[u8])> = parts
                .iter()
                .map(|(name, bytes)| (*name, &bytes[..]))
                .collect();
            let (content_type, body) = multipart(&parts);
            (Some(content_type), body)
        })
        .boxed();
    let damaged = |body: BoxedStrategy<(Option<String>, Vec<u8>)>| {
        (
            body,
            prop::collection::vec((any::<usize>(), any_damage()), 0..6),
        )
            .prop_map(|((content_type, body), damage)| (content_type, apply(body, &damage)))
    };
    let json = any_json()
        .prop_map(|body| (Some("application/json".to_owned()), body))
        .boxed();
    prop_oneof![
        4 => any_image().prop_map(|image| (None, image)),
        2 => (content_type, prop::collection::vec(any::<u8>(), 0..3000)),
        2 => form.clone(),
        2 => json.clone(),
        2 => damaged(form),
        2 => damaged(json),
    ]
}

fn any_image() -> impl Strategy<Value = Vec<u8>> {
    let whole = (0..IMAGES.len()).prop_map(|i| IMAGES[i].clone());
    let damaged = (
        whole.clone(),
        prop::collection::vec((any::<usize>(), any_damage()), 1..10),
    )
        .prop_map(|(image, damage)| apply(image, &damage));
    let cut = (whole.clone(), any::<prop::sample::Index>())
        .prop_map(|(image, at)| image[..at.index(image.len())].to_vec());
    prop_oneof![whole, damaged, cut]
}

fn any_json() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        any_image().prop_map(|image| encoded(&image)),
        "[A-Za-z0-9+/=\\\\\"u\n -]{0,60}",
    ];
    let one = text.clone().prop_map(|t| format!("{{\"image\":\"{t}\"}}"));
    let list = prop::collection::vec(text.clone(), 0..5).prop_map(|list| {
        format!(
            "{{\"images\":[{}]}}",
            list.iter()
                .map(|t| format!("\"{t}\""))
                .collect::<Vec<_>>()
                .join(",")
        )
    });
    let deep = (1_usize..2000).prop_map(|n| format!("{{\"image\":{}", "[".repeat(n)));
    let other = "[\\[\\]{},:\"a-z0-9.eE+ -]{0,80}";
    prop_oneof![3 => one, 3 => list, 1 => deep, 2 => other].prop_map(String::into_bytes)
}

fn encoded(image: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(image)
}

fn apply(mut bytes: Vec<u8>, damage: &[(usize, Damage)]) -> Vec<u8> {
    for (at, damage) in damage {
        if bytes.is_empty() {
            break;
        }
        let at = at % bytes.len();
        match damage {
            Damage::Replace(byte) => bytes[at] = *byte,
            Damage::Insert(byte) => bytes.insert(at, *byte),
            Damage::Remove => drop(bytes.remove(at)),
        }
    }
    bytes
}

impl Sent {
    /// Its bytes on the wire.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut head = format!(
            "{} {} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n",
            self.method, self.target
        );
        for (name, value) in &self.fields {
            head += &format!("{name}: {value}\r\n");
        }
        let mut body = Vec::new();
        match self.framing {
            Framing::Length => head += &format!("Content-Length: {}\r\n\r\n", self.body.len()),
            Framing::WrongLength(by) => {
                let length = self
                    .body
                    .len()
                    .saturating_add_signed(isize::try_from(by).unwrap());
                head += &format!("Content-Length: {length}\r\n\r\n");
            }
            Framing::Chunks(size) => {
                head += "Transfer-Encoding: chunked\r\n\r\n";
                for chunk in self.body.chunks(size) {
                    write!(body, "{:x}\r\n", chunk.len()).unwrap();
                    body.extend_from_slice(chunk);
                    body.extend_from_slice(b"\r\n");
                }
                body.extend_from_slice(b"0\r\n\r\n");
            }
        }
        if body.is_empty() {
            body.clone_from(&self.body);
        }
        [apply(head.into_bytes(), &self.damage), body].concat()
    }
}
