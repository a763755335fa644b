//! The documents as a stranger follows them: README's transcripts replayed, links that lead somewhere.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::{Answer, agent, preset};

const README: &str = include_str!("../../README.md");

/// Stands in a transcript for lines that are left out.
const LEFT_OUT: &str = "…";

/// A command as it was typed, and what it printed.
struct Transcript {
    command: &'static str,
    output: &'static str,
}

/// What stands in the blocks marked `console` of a document, one command each.
fn transcripts(document: &'static str) -> Vec<Transcript> {
    let blocks = document.split("```console\n$ ").skip(1);
    let transcript = |block: &'static str| {
        let (block, _) = block.split_once("```").expect("a block ends");
        let (command, output) = block.split_once('\n').expect("a command has an output");
        Transcript { command, output }
    };
    blocks.map(transcript).collect()
}

/// The command's words, without the quotes of a shell.
fn words(command: &str) -> Vec<&str> {
    command.split(' ').map(|w| w.trim_matches('\'')).collect()
}

/// `resnet serve` on a free port with a log for people, killed when dropped.
struct Served {
    child: Child,
    log: std::io::Lines<BufReader<std::process::ChildStderr>>,
    origin: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Served {
    /// Starts it and compares what it logs until it is ready, line by line.
    fn start(expected: &mut std::str::Lines<'_>) -> Served {
        let mut command = preset();
        command.args(["serve", "--port", "0", "--log-format", "text"]);
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut served = Served {
            child,
            log,
            origin: String::new(),
        };
        while served.origin.is_empty() {
            let shown = expected.next().expect("README shows it being ready");
            let line = match shown {
                LEFT_OUT => served.skip_to(expected.next().expect("README goes on")),
                shown => served.same_line(shown),
            };
            if let Some((_, rest)) = line.split_once(" address=") {
                served.origin = rest.split(' ').next().unwrap().to_owned();
            }
        }
        served
    }

    /// Reads lines of the log until one is like this one.
    fn skip_to(&mut self, expected: &str) -> String {
        let mut lines = self.log.by_ref().map(Result::unwrap);
        let found = lines.find(|line| shape(line) == shape(expected));
        found.unwrap_or_else(|| panic!("the log has no line as README's:\n{expected}"))
    }

    /// Reads the next line of the log, which must be like this one.
    fn same_line(&mut self, expected: &str) -> String {
        // A warning is of this machine, and of no place in the log: another thread may write it.
        let mut lines = self.log.by_ref().map(Result::unwrap);
        let line = lines.find(|line| !line.contains(" WARN "));
        let line = line.expect("the log goes on");
        assert_eq!(
            shape(&line),
            shape(expected),
            "{line}\nin README:\n{expected}"
        );
        line
    }
}

/// A line of the log without what changes from run to run: the time, and the values of fields.
fn shape(line: &str) -> Vec<String> {
    let (_time, line) = line.split_once(' ').expect("a line begins with the time");
    let line: String = line.split('"').step_by(2).collect();
    let word = |word: &str| match (word.split_once('='), word.split_once("://")) {
        (Some((key, _)), _) => format!("{key}="),
        (None, Some((_, address))) => address.split_once('/').unwrap_or_default().1.to_owned(),
        (None, None) => word.to_owned(),
    };
    line.split_whitespace().map(word).collect()
}

/// Whether an answer is what the document shows: the same, but for the digits in which precisions differ.
fn alike(got: &Value, shown: &Value) -> bool {
    match (got, shown) {
        (Value::Object(got), Value::Object(shown)) => {
            got.len() == shown.len()
                && shown.iter().all(|(key, shown)| {
                    key == "request_id" || got.get(key).is_some_and(|got| alike(got, shown))
                })
        }
        (Value::Array(got), Value::Array(shown)) => {
            got.len() == shown.len() && got.iter().zip(shown).all(|(g, s)| alike(g, s))
        }
        (Value::Number(got), Value::Number(shown)) if shown.is_f64() => {
            (got.as_f64().unwrap() - shown.as_f64().unwrap()).abs() < 0.05
        }
        _ => got == shown,
    }
}

/// The words of a text for people, where a percentage may differ by what precisions differ.
fn assert_alike_text(got: &str, shown: &str) {
    assert_eq!(got.lines().count(), shown.lines().count(), "{got}");
    for (got, shown) in got.split_whitespace().zip(shown.split_whitespace()) {
        let percent = |word: &str| word.strip_suffix('%')?.parse::<f64>().ok();
        match (percent(got), percent(shown)) {
            (Some(got), Some(shown)) => assert!((got - shown).abs() < 5.0, "{got} {shown}"),
            _ => assert_eq!(got, shown),
        }
    }
}

fn classify(transcript: &Transcript) {
    let mut command = preset();
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = command
        .args(&words(transcript.command)[1..])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_alike_text(&text, transcript.output);
}

#[test]
fn readmes_transcripts_are_what_the_commands_print() {
    let transcripts = transcripts(README);
    let [serve, asked @ ..] = &transcripts[..] else {
        panic!("no transcript");
    };
    assert_eq!(serve.command, "resnet serve");
    let mut log = serve.output.lines();
    let mut server = Served::start(&mut log);
    for transcript in asked {
        match words(transcript.command)[..] {
            ["curl", "-T", file, url] => {
                let (_, path) = url.split_once(":8080").expect("the default port");
                let photo = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
                let url = format!("{}{path}", server.origin);
                let answer = Answer::of(agent().put(url).send(&photo.unwrap()[..])).json();
                let shown: Value = serde_json::from_str(transcript.output).unwrap();
                assert!(alike(&answer, &shown), "{}: {answer}", transcript.command);
                if let Some(line) = log.next() {
                    server.same_line(line);
                }
            }
            ["resnet", "classify", ..] => classify(transcript),
            _ => panic!("no way to try {}", transcript.command),
        }
    }
    assert_eq!(log.next(), None, "README's log is longer than the server's");
}

#[test]
fn other_documents_transcripts_are_what_the_commands_print() {
    for transcript in transcripts(include_str!("../../docs/COMMANDS.md")) {
        classify(&transcript);
    }
}

#[test]
fn readme_is_short() {
    assert!(README.lines().count() <= 150);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // By name: beside them may lie what somebody has installed.
    let places = ["docs", "models", "tests", "benches", "fuzz", "kernels"];
    let listed = Command::new("find")
        .args(places)
        .args(["-name", "*.md"])
        .current_dir(root)
        .output()
        .unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut links = 0;
    let top = std::fs::read_dir(root).unwrap().map(|e| e.unwrap().path());
    let top = top.filter(|path| path.extension().is_some_and(|e| e == "md"));
    for document in listed.lines().map(|path| root.join(path)).chain(top) {
        let text = std::fs::read_to_string(&document).unwrap();
        for target in text.split("](").skip(1) {
            let (target, _) = target.split_once(')').unwrap();
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = match path {
                "" => document.clone(),
                path => document.parent().unwrap().join(path),
            };
            let shown = document.display();
            assert!(file.exists(), "{shown}: {target}");
            assert!(
                anchor.is_empty() || has_heading(&file, anchor),
                "{shown}: {target}"
            );
            links += 1;
        }
    }
    assert!(links > 50, "{links} links are found");
}

/// Whether a document has the heading that an anchor names: its words in small letters, joined by hyphens.
fn has_heading(document: &Path, anchor: &str) -> bool {
    let text = std::fs::read_to_string(document).unwrap();
    let mut headings = text.lines().filter(|l| l.starts_with('#'));
    headings.any(|heading| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.replace(' ', "-");
        kept.replace(|c: char| !c.is_alphanumeric() && c != '-' && c != '_', "") == anchor
    })
}
