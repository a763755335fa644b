//! Names from outside that hold what a terminal would obey: in errors, tables, labels and the log.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};

use super::{run, text_of};
use crate::harness::{fixture, resnet};

/// Clears the screen, sets a title, forges a line, and turns the direction of writing.
const NAME: &str = "x\u{1b}[2J\u{1b}]0;owned\u{7}\nerror: all is well\u{9b}31m\u{202e}gpj";

/// The same as people may see it.
const SHOWN: &str =
    "x\\u001b[2J\\u001b]0;owned\\u0007\\u000aerror: all is well\\u009b31m\\u202egpj";

/// What a terminal does, instead of to show it.
fn is_obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// What a command prints on a terminal, both streams together; `script` is the terminal.
pub(super) fn on_a_terminal(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', "'\\''")));
    let line = quoted.collect::<Vec<_>>().join(" ");
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        script.current_dir(dir);
    }
    let output = script.stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn assert_shown(text: &str, what: &str) {
    let obeyed = |c: char| is_obeyed(c) && c != '\n';
    assert!(!text.contains(obeyed), "{what}: {text:?}");
    // Where Rust quotes a name, it has a form of its own.
    let is_shown = text.contains("\\u001b[2J") || text.contains("\\u{1b}[2J");
    assert!(is_shown, "{what}: {text:?}");
    assert!(!text.contains("\nerror: all is well"), "{what}: {text:?}");
}

#[test]
fn errors_show_names_and_obey_none() {
    let onnx = format!("{NAME}.onnx");
    let toml = format!("{NAME}.toml");
    let port = format!("--port={NAME}");
    for args in [
        vec!["classify", NAME],
        vec!["classify", "x.png", "--model", &onnx],
        vec!["classify", "x.png", "--output", &toml],
        vec!["classify", "x.png", "--model", NAME],
        vec!["serve", "--port", "0", "--model", &onnx],
        vec!["show", &onnx],
        vec!["show", NAME],
        vec!["show", "--json", NAME],
        vec!["doctor", "--model", NAME],
        vec!["doctor", "--json", "--model", NAME],
        vec!["pull", NAME],
        vec!["pull", "resnet18", "--from", NAME],
        vec!["rm", NAME],
        vec!["eval", "--data", NAME],
        vec!["preprocess", NAME, "--npy", "-"],
        vec!["bench", "engine", "--model", NAME],
        vec!["serve", "--api-keys-file", NAME, "--port", "0"],
        vec!["serve", "--port", NAME],
        vec!["serve", &port],
        vec!["classify", "x.png", "-k", NAME],
        vec!["serve", NAME],
        vec![NAME],
        vec!["man", NAME],
        vec!["completions", NAME],
        vec!["healthcheck", "--host", NAME],
    ] {
        let (code, stdout, stderr) = run(&args);
        assert!(code > 0, "{args:?}");
        assert_shown(&(stdout + &stderr), &format!("{args:?}"));
    }
}

#[test]
fn values_of_variables_are_shown() {
    for (args, variable) in [
        (&["serve"][..], "RESNET_PORT"),
        (&["serve"], "RESNET_HTTP2"),
        (&["serve"], "RESNET_ISA"),
        (&["classify", "x.png"], "RESNET_TOP_K"),
        (&["serve", "--help"], "RESNET_PORT"),
    ] {
        let mut command = resnet();
        command.args(args).env(variable, NAME);
        let on_a_terminal = on_a_terminal(&command).replace("\r\n", "\n");
        let (_, stdout, stderr) = text_of(&command.output().unwrap());
        for text in [on_a_terminal, stdout + &stderr] {
            let obeyed = |c: char| is_obeyed(c) && c != '\n';
            assert!(!text.contains(obeyed), "{variable}: {text:?}");
            let is_shown = text.contains("\\u001b[2J") || text.contains("\\u{1b}[2J");
            assert!(is_shown, "{variable}: {text:?}");
        }
    }
}

#[test]
fn labels_and_names_of_a_model_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join(std::ffi::OsStr::from_bytes(
        NAME.replace('/', "").as_bytes(),
    ));
    fs::create_dir(&bad).unwrap();
    fs::copy(fixture("models/opset13.onnx"), bad.join("model.onnx")).unwrap();
    let (_, shown, _) = run(&[
        "show",
        "--json",
        &fixture("models/opset13.onnx").display().to_string(),
    ]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let classes = shown["loaded"]["output"]["classes"].as_u64().unwrap();
    let labels: Vec<String> = (0..classes).map(|i| format!("{i} {NAME}")).collect();
    fs::write(
        bad.join("labels.json"),
        serde_json::to_string(&labels).unwrap(),
    )
    .unwrap();
    let photo = fixture("photos/plate.png").display().to_string();
    let model = format!("m={}", bad.display());
    for args in [
        vec!["classify", "--model", &model, &photo],
        vec!["classify", "--model", &model, &photo, "--json"],
        vec!["show", &model],
    ] {
        let (code, stdout, stderr) = run(&args);
        assert_eq!(code, 0, "{args:?}: {stderr}");
        assert_shown(&(stdout + &stderr), &format!("{args:?}"));
    }
    let data = tempfile::tempdir().unwrap();
    fs::create_dir(data.path().join("3")).unwrap();
    fs::copy(
        &photo,
        data.path().join(format!("3/{}.png", NAME.replace('/', ""))),
    )
    .unwrap();
    fs::write(
        data.path().join(format!("3/{}.jpg", NAME.replace('/', ""))),
        b"",
    )
    .unwrap();
    let data = data.path().to_str().unwrap();
    let (_, stdout, _) = run(&["eval", "--model", &model, "--data", data]);
    assert_shown(&stdout, "eval");
    assert!(stdout.contains(&format!("  3/{SHOWN}.jpg: ")), "{stdout}");
}

#[test]
fn log_shows_names() {
    let dir = tempfile::tempdir().unwrap();
    let model = dir.path().join(format!("{NAME}.onnx"));
    fs::copy(fixture("models/opset13.onnx"), &model).unwrap();
    let photo = fixture("photos/plate.png").display().to_string();
    let logging_as = |format: &str| {
        let mut command = resnet();
        command.args(["classify", "--log-level", "debug", "--log-format", format]);
        command.args(["--model", &format!("m={}", model.display()), &photo]);
        command
    };
    let (code, _, stderr) = text_of(&logging_as("json").output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    let line = stderr.lines().find(|line| line.contains("model loaded"));
    let line = line.unwrap_or_else(|| panic!("{stderr}"));
    assert!(!line.contains(is_obeyed), "{line:?}");
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(line["origin"], model.display().to_string());

    let mut command = logging_as("text");
    let (code, _, stderr) = text_of(&command.output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("model loaded"), "{stderr}");
    let obeyed = |c: char| is_obeyed(c) && c != '\n';
    assert!(!stderr.contains(obeyed), "{stderr:?}");
    assert!(!stderr.contains("\nerror: all is well"), "{stderr:?}");
    // On a terminal the log has colours of its own, and nothing of the name's.
    let shown = on_a_terminal(&command);
    assert!(
        !shown.contains("\u{1b}[2J") && !shown.contains('\u{7}'),
        "{shown:?}"
    );
}
