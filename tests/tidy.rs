//! The architecture as a test: import direction, and where unsafe, async, environment and network may live.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::path::{Path, PathBuf};

/// Each room and the rooms it may import, as `docs/ARCHITECTURE.md` draws them.
const ROOMS: [(&str, &[&str]); 31] = [
    ("faults", &[]),
    ("heartbeat", &[]),
    ("fair_queue", &[]),
    ("tensor", &[]),
    ("metrics", &[]),
    ("network", &[]),
    ("config", &["network"]),
    ("kernels", &[]),
    ("npy", &[]),
    ("hex", &[]),
    ("base64", &[]),
    ("visible", &[]),
    ("table", &["visible"]),
    ("traces", &["hex", "visible"]),
    (
        "eval",
        &["classifier", "preprocess", "registry", "table", "visible"],
    ),
    (
        "quantize",
        &[
            "engine",
            "eval",
            "kernels",
            "postprocess",
            "preprocess",
            "registry",
            "table",
            "tensor",
        ],
    ),
    ("ops", &["kernels"]),
    ("engine", &["ops", "kernels", "postprocess", "tensor"]),
    (
        "preprocess",
        &["kernels", "heartbeat", "tensor", "fair_queue", "hex"],
    ),
    ("postprocess", &[]),
    (
        "batcher",
        &["engine", "tensor", "metrics", "heartbeat", "fair_queue"],
    ),
    (
        "registry",
        &["engine", "preprocess", "tensor", "hex", "visible"],
    ),
    (
        "classifier",
        &[
            "preprocess",
            "batcher",
            "postprocess",
            "registry",
            "engine",
            "tensor",
            "metrics",
            "fair_queue",
        ],
    ),
    (
        "repository",
        &["classifier", "batcher", "registry", "metrics"],
    ),
    (
        "desk",
        &[
            "repository",
            "classifier",
            "preprocess",
            "metrics",
            "network",
            "fair_queue",
            "hex",
            "visible",
            "traces",
        ],
    ),
    (
        "oip",
        &[
            "desk",
            "classifier",
            "preprocess",
            "postprocess",
            "registry",
            "fair_queue",
            "base64",
            "tensor",
        ],
    ),
    ("overlay", &["classifier", "preprocess"]),
    (
        "http",
        &[
            "oip",
            "overlay",
            "repository",
            "desk",
            "classifier",
            "preprocess",
            "registry",
            "metrics",
            "fair_queue",
            "base64",
            "traces",
        ],
    ),
    (
        "grpc",
        &[
            "http",
            "oip",
            "repository",
            "desk",
            "classifier",
            "fair_queue",
        ],
    ),
    ("server", &["http", "grpc", "desk"]),
    ("cli", &["*"]),
];

/// The rooms of `kernels/src/nn`, from the bottom: each imports only what stands before it.
const NN_ROOMS: [&str; 11] = [
    "denormals",
    "layout",
    "arithmetic",
    "layer",
    "micro",
    "team",
    "arena",
    "conv",
    "steps",
    "int8",
    "program",
];

struct Source {
    path: String,
    room: String,
    text: String,
}

/// Every file of `src` and `kernels/src`, without its unit tests and comments; a path begins with the room.
fn sources() -> Vec<Source> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = Vec::new();
    for (root, prefix) in [("src", ""), ("kernels/src", "kernels/")] {
        let root = package.join(root);
        let mut files = Vec::new();
        collect(&root, &mut files);
        assert!(files.len() > 30, "the sources are found");
        sources.extend(files.into_iter().map(|file| {
            let path = file.strip_prefix(&root).unwrap().to_string_lossy();
            let path = format!("{prefix}{}", path.replace('\\', "/"));
            let room = path.split('/').next().unwrap().trim_end_matches(".rs");
            Source {
                room: room.to_owned(),
                text: std::fs::read_to_string(&file).unwrap(),
                path,
            }
        }));
    }
    sources
}

/// Where in an item under `#[cfg(test)]` a line of formatted code is.
enum TestItem {
    None,
    /// Behind the attribute of an item at this indentation.
    Announced(usize),
    /// Inside of an item at this indentation; its last line is a closing bracket there.
    Open(usize),
}

impl TestItem {
    /// Looks at the next line; whether it belongs to an item for tests.
    fn takes(&mut self, line: &str) -> bool {
        let code = line.trim_start();
        let here = line.len() - code.len();
        let ends = code.ends_with([';', '}', ',']);
        *self = match *self {
            TestItem::None if code == "#[cfg(test)]" || code.starts_with("#[cfg(all(test, ") => {
                TestItem::Announced(here)
            }
            TestItem::None => return false,
            TestItem::Announced(indent) if code.starts_with("#[") => TestItem::Announced(indent),
            TestItem::Announced(_) if ends => TestItem::None,
            TestItem::Announced(indent) => TestItem::Open(indent),
            TestItem::Open(indent) if here == indent && code.starts_with('}') && ends => {
                TestItem::None
            }
            TestItem::Open(indent) => TestItem::Open(indent),
        };
        true
    }
}

#[test]
fn code_is_seen_before_between_and_behind_items_for_tests() {
    let text = "\
//! What it is for.
a
#[cfg(test)]
mod tests;
b // a comment behind code
#[cfg(test)]
#[allow(x)]
use c::{
    d,
};
#[cfg(all(test, unix))]
const X: u8 = 1;
impl E {
    #[cfg(test)]
    fn f() {
        g {}
    }

    h
}
// a comment
#[cfg(test)]
mod tests {
    i
}
j";
    let source = Source {
        path: String::new(),
        room: String::new(),
        text: text.to_owned(),
    };
    let seen: Vec<_> = source.code().map(|(_, line)| line.trim()).collect();
    let code = [
        "a",
        "b // a comment behind code",
        "impl E {",
        "",
        "h",
        "}",
        "j",
    ];
    assert_eq!(seen, code);
    assert_eq!(source.code().last(), Some((26, "j")));
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    /// The lines of code, numbered from 1, without comments and items under `#[cfg(test)]`.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let mut test_item = TestItem::None;
        let lines = self.text.lines().enumerate();
        lines.map(|(i, l)| (i + 1, l)).filter(move |(_, l)| {
            let is_code = !l.trim_start().starts_with("//");
            is_code && !test_item.takes(l)
        })
    }

    fn assert_absent(&self, what: &str, reason: &str) {
        for (number, line) in self.code() {
            assert!(
                !line.contains(what),
                "{}:{number}: {what:?}: {reason}",
                self.path
            );
        }
    }
}

#[test]
fn imports_point_down() {
    for source in sources()
        .iter()
        .filter(|s| !matches!(s.room.as_str(), "lib" | "main" | "kernels"))
    {
        let allowed = ROOMS.iter().find(|(room, _)| *room == source.room);
        let (_, allowed) = allowed.unwrap_or_else(|| panic!("{} is in no known room", source.path));
        for (number, line) in source.code() {
            let rooms = line.split("crate::").skip(1).map(|import| {
                import
                    .chars()
                    .take_while(|c| matches!(c, 'a'..='z' | '0'..='9' | '_'))
                    .collect()
            });
            let package = line.contains("kernels::").then(|| "kernels".to_owned());
            for room in rooms.chain(package) {
                let room: String = room;
                let fine =
                    room == source.room || allowed.contains(&room.as_str()) || *allowed == ["*"];
                assert!(
                    fine,
                    "{}:{number}: {} may not import {room}",
                    source.path, source.room
                );
            }
        }
    }
}

/// The code words of a line, as in `these`.
fn words(line: &str) -> Vec<&str> {
    line.split('`').skip(1).step_by(2).collect()
}

#[test]
fn table_of_rooms_is_drawn_so_and_each_imports_only_what_stands_below_it() {
    let text = std::fs::read_to_string("docs/ARCHITECTURE.md").unwrap();
    let table = text.split("## Rooms").nth(1).unwrap();
    let table = table.split("\n## ").next().unwrap();
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    let rows: Vec<(&str, Vec<&str>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            (words(cells[0])[0], words(cells[2]))
        })
        .collect();
    assert_eq!(rows.len(), ROOMS.len());
    for (at, (room, imports)) in rows.iter().enumerate() {
        let (_, allowed) = ROOMS.iter().find(|(name, _)| name == room).unwrap();
        if *allowed == ["*"] {
            continue;
        }
        let sorted = |names: &[&str]| {
            let mut names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
            names.sort_unstable();
            names
        };
        assert_eq!(sorted(imports), sorted(allowed), "{room}");
        for import in imports {
            let below = rows[at..].iter().any(|(name, _)| name == import);
            assert!(below, "{room} imports {import}, which stands above it");
        }
    }
}

#[test]
fn imports_inside_nn_point_down() {
    let for_tests = |path: &str| {
        path.contains("/oracle/")
            || path.contains("/tests/")
            || path.ends_with("tests.rs")
            || path.ends_with("testing.rs")
    };
    let level = |room: &str| NN_ROOMS.iter().position(|r| *r == room);
    for source in sources() {
        let Some(path) = source.path.strip_prefix("kernels/nn/") else {
            continue;
        };
        if path == "mod.rs" || for_tests(path) {
            continue;
        }
        let room = path.split('/').next().unwrap().trim_end_matches(".rs");
        let own = level(room).unwrap_or_else(|| panic!("{path} is in no known room"));
        for (number, line) in source.code() {
            for import in line.split("crate::nn::").skip(1) {
                let other = import.split("::").next().unwrap();
                let other = other.trim_end_matches([';', ',']);
                assert!(
                    level(other).is_some_and(|other| other <= own),
                    "{}:{number}: {room} may not import {other}",
                    source.path
                );
            }
        }
    }
}

#[test]
fn each_file_says_first_what_it_is_for() {
    for source in sources() {
        assert!(
            source.text.starts_with("//! "),
            "{} does not start with //!",
            source.path
        );
    }
}

#[test]
fn unsafe_lives_nowhere_but_in_kernels() {
    for source in sources().iter().filter(|s| s.room != "kernels") {
        source.assert_absent("unsafe ", "unsafe code belongs to kernels");
        source.assert_absent("allow(unsafe_code", "unsafe code belongs to kernels");
    }
}

#[test]
fn computation_knows_no_async() {
    for source in sources() {
        let policy = source.path == "batcher/policy.rs";
        if policy
            || matches!(
                source.room.as_str(),
                "tensor"
                    | "kernels"
                    | "ops"
                    | "engine"
                    | "preprocess"
                    | "postprocess"
                    | "registry"
                    | "npy"
            )
        {
            source.assert_absent("tokio", "no async runtime where numbers are computed");
            source.assert_absent("async ", "no async where numbers are computed");
        }
        source.assert_absent("spawn_blocking", "threads are named and ours");
    }
}

#[test]
fn policy_has_no_clock() {
    for source in sources().iter().filter(|s| s.path == "batcher/policy.rs") {
        source.assert_absent("Instant", "time is an argument");
    }
}

#[test]
fn environment_is_read_in_cli_and_config_only() {
    for source in sources()
        .iter()
        .filter(|s| !matches!(s.room.as_str(), "cli" | "config"))
    {
        source.assert_absent("env::var", "the environment is for cli and config");
    }
}

#[test]
fn network_lives_in_server_fetch_healthcheck_and_collector() {
    for source in sources() {
        let allowed = source.room == "server"
            || source.path.starts_with("registry/fetch")
            || matches!(
                source.path.as_str(),
                // the collector is of traces, whose exporter asks it on a thread of its own
                "cli/healthcheck.rs" | "traces/collector.rs"
            );
        if !allowed {
            for word in ["TcpStream", "TcpListener", "UdpSocket", "ureq"] {
                source.assert_absent(word, "no network here");
            }
        }
    }
}

#[test]
fn status_codes_and_tract_stay_in_their_rooms() {
    for source in sources() {
        if !matches!(source.room.as_str(), "http" | "grpc" | "server") {
            source.assert_absent("StatusCode", "only protocols know status codes");
            source.assert_absent("axum", "only protocols know axum");
        }
        let is_operator = matches!(
            source.path.as_str(),
            "ops/region.rs" | "ops/linear.rs" | "ops/stride.rs" | "ops/kept.rs"
        );
        if source.room != "engine" && !is_operator {
            source.assert_absent(
                "tract_onnx::",
                "only the engine and its operators know tract",
            );
        }
    }
}
