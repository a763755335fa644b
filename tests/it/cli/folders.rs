//! `resnet classify` on folders: what is taken, what is skipped, what is written, and how a run is ended and gone on with.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::text_of;
use crate::harness::{eventually, fixture, resnet};

const PHOTOS: [&str; 4] = ["espresso.png", "orange.png", "plate.png", "trolleybus.png"];

/// A place with a folder `photos`.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("photos")).unwrap();
        Place { dir }
    }

    /// With every fixture three times, in two folders.
    fn with_photos() -> Place {
        let place = Place::new();
        for (folder, round) in [("a", 1), ("b", 2), ("b", 3)] {
            for photo in PHOTOS {
                place.photo(photo, &format!("photos/{folder}/{round}-{photo}"));
            }
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn photo(&self, photo: &str, name: &str) {
        self.file(
            name,
            &fs::read(fixture(&format!("photos/{photo}"))).unwrap(),
        );
    }

    /// A pipe that nobody writes to: who opens it waits.
    fn pipe(&self, name: &str) {
        let made = Command::new("mkfifo").arg(self.path(name)).status();
        assert!(made.unwrap().success());
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = resnet();
        command
            .current_dir(self.dir.path())
            .arg("classify")
            .args(args);
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        text_of(&self.command(args).output().unwrap())
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }
}

fn lines(text: &str) -> Vec<Value> {
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    text.lines().map(line).collect()
}

fn files(lines: &[Value]) -> Vec<&str> {
    lines.iter().map(|l| l["file"].as_str().unwrap()).collect()
}

#[test]
fn folder_is_taken_in_order_and_everything_in_it_is_accounted_for() {
    let place = Place::new();
    place.photo("plate.png", "photos/b/z.png");
    place.photo("orange.png", "photos/b/without-ending");
    place.photo("orange.png", "photos/a.JPEG");
    place.photo("espresso.png", "photos/.hidden/x.png");
    place.photo("espresso.png", "photos/.x.png");
    place.photo("espresso.png", "elsewhere/e.png");
    place.file("photos/b/notes.txt", b"no photo");
    place.file("photos/b/labels.tsv", b"file\twnid\n");
    place.file("photos/b/broken.jpg", b"");
    symlink("../elsewhere", place.path("photos/linked")).unwrap();
    symlink("..", place.path("photos/b/back")).unwrap();
    symlink("../..", place.path("photos/b/above")).unwrap();
    symlink("/", place.path("photos/linked-root")).unwrap();
    symlink(".", place.path("photos/b/itself")).unwrap();
    symlink("../b/z.png", place.path("photos/b/link.png")).unwrap();
    symlink("nowhere", place.path("photos/b/dangling.jpg")).unwrap();
    place.pipe("photos/b/pipe.png");
    let (code, stdout, stderr) = place.run(&["--json", "photos"]);
    let found = lines(&stdout);
    assert_eq!(
        files(&found),
        [
            "photos/a.JPEG",
            "photos/b/broken.jpg",
            "photos/b/dangling.jpg",
            "photos/b/link.png",
            "photos/b/without-ending",
            "photos/b/z.png",
            "photos/linked/e.png",
        ]
    );
    assert_eq!(code, 1, "two failed");
    for (i, words) in [(1, "empty"), (2, "cannot be read: No such file")] {
        let error = found[i]["error"].as_str().unwrap();
        assert!(error.contains(words), "{error}");
    }
    assert_eq!(found[1]["code"], "empty_body");
    assert_eq!(found[6]["predictions"][0]["label"], "espresso");
    let told: Vec<&str> = stderr.lines().collect();
    assert_eq!(
        told[0],
        "5 classified, 2 failed, 9 skipped (3 no images, 2 hidden, 4 links back)"
    );
    assert!(told[1].starts_with("  photos/b/broken.jpg: "), "{stderr}");
    assert_eq!(told.len(), 3, "{stderr}");
}

#[test]
fn what_is_named_is_taken_even_if_it_is_hidden_or_no_image() {
    let place = Place::new();
    place.photo("plate.png", ".cache/.plate.png");
    place.file("notes.txt", b"no photo");
    let (code, stdout, _) = place.run(&["--json", ".cache/.plate.png", "notes.txt"]);
    let found = lines(&stdout);
    assert_eq!(code, 1);
    assert_eq!(found[0]["predictions"][0]["label"], "plate");
    assert_eq!(found[1]["code"], "unsupported_media_type");
    let (code, stdout, stderr) = place.run(&["--json", ".cache", "photos"]);
    assert_eq!((code, &*stdout), (0, ""));
    assert_eq!(stderr, "0 classified, 0 failed, 1 skipped (1 hidden)\n");
}

#[test]
fn folder_without_permission_is_a_failure_and_the_others_go_on() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let place = Place::with_photos();
    // Below a place that everybody may enter, so that somebody else than the superuser can be kept out.
    fs::set_permissions(place.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(place.path("photos/a"), fs::Permissions::from_mode(0o000)).unwrap();
    let program = place.path("resnet");
    fs::copy(resnet().get_program(), &program).unwrap();
    let mut command = Command::new(program);
    command.current_dir(place.dir.path());
    command.args(["classify", "--json", "--model", "resnet18-tiny", "photos"]);
    if fs::read_dir(place.path("photos/a")).is_ok() {
        command.uid(65_534).gid(65_534);
    }
    let (code, stdout, _) = text_of(&command.output().unwrap());
    fs::set_permissions(place.path("photos/a"), fs::Permissions::from_mode(0o755)).unwrap();
    let found = lines(&stdout);
    assert_eq!((code, found.len()), (1, 9));
    assert_eq!(found[0]["file"], "photos/a");
    let error = found[0]["error"].as_str().unwrap();
    assert!(error.contains("Permission denied"), "{error}");
}

#[test]
fn answers_do_not_depend_on_order_or_company() {
    let place = Place::with_photos();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let (_, together, _) = place.run(&["--json", "-k", "200", "photos"]);
    let found = lines(&together);
    let mut names = files(&found);
    names.reverse();
    let args = [
        "--json",
        "-k",
        "200",
        "--workers",
        "1",
        "--max-batch-size",
        "3",
    ];
    let (_, reversed, _) = place.run(&[&args[..], &names].concat());
    assert_eq!(sorted(&together), sorted(&reversed));
    let (_, alone, _) = place.run(&["--json", "-k", "200", names[5]]);
    assert!(together.contains(alone.trim_end()), "{alone}");
    assert_eq!(found.len(), 12);
}

#[test]
fn csv_has_a_line_a_class_and_survives_every_name() {
    let place = Place::new();
    let names = [
        "photos/a, \"b\".png",
        "photos/c\nd.png",
        "photos/e\u{1b}[31mf.png",
        "photos/f é.png",
    ];
    for name in names {
        place.photo("plate.png", name);
    }
    place.file("photos/z.jpg", b"GIF89a");
    let (code, stdout, _) = place.run(&["--format", "csv", "-k", "2", "photos"]);
    assert_eq!(code, 1);
    assert!(
        stdout.starts_with("file,model,rank,class_index,wnid,label,probability,error\n\"photos/a, \"\"b\"\".png\",resnet18-tiny,1,"),
        "{stdout}"
    );
    let mut reader = csv::Reader::from_reader(stdout.as_bytes());
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 2 * names.len() + 1);
    for (pair, name) in rows.chunks(2).zip(names) {
        assert_eq!((&pair[0][0], &pair[1][0]), (name, name));
        assert_eq!((&pair[0][2], &pair[1][2]), ("1", "2"));
        assert_eq!((&pair[0][4], &pair[0][5]), ("n07579787", "plate"));
        let probability = |row: &csv::StringRecord| row[6].parse::<f64>().unwrap();
        assert!(probability(&pair[0]) > probability(&pair[1]));
        assert_eq!(&pair[0][7], "");
    }
    let last = &rows[rows.len() - 1];
    assert_eq!((&last[0], &last[2], &last[6]), ("photos/z.jpg", "", ""));
    assert!(last[7].contains("GIF"), "{last:?}");
}

#[test]
fn output_takes_its_form_from_its_name_and_replaces_what_was_there() {
    let place = Place::with_photos();
    place.file("out.csv", &[b'x'; 100_000]);
    for (name, start) in [
        ("out.csv", "file,model,rank,"),
        ("out.jsonl", "{\"file\":\"photos/a/1-espresso.png\","),
        ("out.txt", "photos/a/1-espresso.png (PNG 299×299)\n"),
    ] {
        let (code, stdout, stderr) = place.run(&["photos", "-k", "1", "-o", name]);
        assert_eq!((code, &*stdout), (0, ""), "{name}");
        assert_eq!(stderr, "12 classified, 0 failed\n", "{name}");
        assert!(place.read(name).starts_with(start), "{name}");
    }
    assert_eq!(place.read("out.csv").lines().count(), 13);
    let args = ["photos", "-k", "1", "--format", "jsonl", "-o", "out.csv"];
    assert_eq!(place.run(&args).0, 0, "the flag counts more than the name");
    assert_eq!(lines(&place.read("out.csv")).len(), 12);
    let (_, stdout, _) = place.run(&["photos", "-k", "1", "--json", "-o", "-"]);
    assert_eq!(stdout, place.read("out.csv"));
}

#[test]
fn run_that_cannot_be_written_fails_and_loses_nothing() {
    let place = Place::with_photos();
    for (out, words) in [
        (
            "missing/out.csv",
            "cannot write missing/out.csv: No such file",
        ),
        ("photos", "cannot write photos: Is a directory"),
        ("/dev/full", "cannot write /dev/full: No space left"),
    ] {
        let (code, _, stderr) = place.run(&["--json", "photos", "-o", out]);
        assert!(code == 1 && stderr.contains(words), "{stderr}");
    }
    place.file("out.csv", b"valuable");
    let (code, _, _) = place.run(&["photos", "-o", "out.csv", "--model", "nothing.onnx"]);
    assert_eq!((code, &*place.read("out.csv")), (1, "valuable"));
}

#[test]
fn resumed_run_writes_what_an_unbroken_one_does_wherever_it_was_cut() {
    let place = Place::with_photos();
    place.file("photos/b/0.jpg", b"damaged");
    for form in ["csv", "jsonl"] {
        let out = format!("out.{form}");
        let args = ["photos", "-k", "2", "--resume", "-o", &out];
        assert_eq!(place.run(&args).0, 1, "one failed");
        let whole = place.read(&out);
        for cut in [0, 3, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
            place.file(&out, &whole.as_bytes()[..cut]);
            let (code, _, stderr) = place.run(&args);
            assert_eq!(code, 1, "one failed, then or now: {stderr}");
            assert_eq!(place.read(&out), whole, "{form}, cut at {cut}: {stderr}");
        }
        let (code, _, stderr) = place.run(&args);
        assert_eq!(code, 1);
        assert_eq!(
            stderr,
            "0 classified, 0 failed, 13 done before (1 failed)\n"
        );
        // A photo that comes later is added.
        place.photo("orange.png", &format!("photos/c/{form}.png"));
        let (_, _, stderr) = place.run(&args);
        assert!(stderr.starts_with("1 classified, 0 failed, "), "{stderr}");
        assert!(place.read(&out).starts_with(&whole));
        fs::remove_dir_all(place.path("photos/c")).unwrap();
    }
}

#[test]
fn output_of_another_run_is_refused_and_stays() {
    let place = Place::with_photos();
    assert_eq!(place.run(&["photos", "-k", "2", "-o", "out.csv"]).0, 0);
    assert_eq!(place.run(&["photos", "-k", "2", "-o", "out.jsonl"]).0, 0);
    place.file("photos.csv", b"name,size\na,b\n");
    place.file("one-line.csv", b"a,b,c");
    place.file("one-line.jsonl", b"{\"precious\":1}");
    let opset = fixture("models/opset13.onnx").display().to_string();
    for (args, words) in [
        (vec!["-o", "out.csv", "-k", "3"], "--top-k must be the same"),
        (
            vec!["-o", "out.jsonl", "-k", "3"],
            "--top-k must be the same",
        ),
        (
            vec!["-o", "out.jsonl", "-k", "2", "--model", &opset],
            "line 1 is of the model resnet18-tiny, this run's is opset13",
        ),
        (
            vec!["-o", "photos.csv"],
            "line 1 does not name the columns file,model,",
        ),
        (
            vec!["-o", "one-line.csv"],
            "line 1 does not name the columns file,model,",
        ),
        (
            vec!["-o", "one-line.jsonl"],
            "line 1 is none that `resnet classify` writes",
        ),
        (
            vec!["-o", "out.csv", "--format", "jsonl"],
            "line 1 is none that `resnet classify` writes",
        ),
        (
            vec!["-o", "out.txt"],
            "--resume needs --format csv or jsonl",
        ),
        (
            vec!["-o", "-", "--json"],
            "--resume needs a file in --output, not -",
        ),
        (
            vec!["-o", "/dev/null", "--json"],
            "--resume needs a file, /dev/null is none",
        ),
        (vec![], "--output"),
    ] {
        let outputs = ["out.csv", "out.jsonl", "one-line.csv", "one-line.jsonl"];
        let before = outputs.map(|name| place.read(name));
        let (code, stdout, stderr) = place.run(&[&["photos", "--resume"], &args[..]].concat());
        assert_eq!((code, &*stdout), (2, ""), "{args:?}: {stderr}");
        assert!(stderr.contains(words), "{args:?}: {stderr}");
        assert_eq!(outputs.map(|name| place.read(name)), before);
    }
}

#[test]
fn what_is_read_is_not_written() {
    let place = Place::new();
    place.photo("plate.png", "copy.png");
    symlink("copy.png", place.path("link.png")).unwrap();
    let photo = fs::read(place.path("copy.png")).unwrap();
    for (input, out) in [
        ("copy.png", "copy.png"),
        ("copy.png", "./link.png"),
        ("link.png", "copy.png"),
    ] {
        for resume in [&[][..], &["--resume"]] {
            let args = [&[input, "-o", out, "--format", "csv"], resume].concat();
            let (code, _, stderr) = place.run(&args);
            let words = format!("{input} is both read and to be written");
            assert!(code == 2 && stderr.contains(&words), "{args:?}: {stderr}");
            assert_eq!(fs::read(place.path("copy.png")).unwrap(), photo);
        }
    }
    // In a folder that is named the output is none of the photos.
    place.photo("plate.png", "photos/a.png");
    place.file("photos/out.png", b"");
    let args = [
        "photos",
        "-k",
        "1",
        "-o",
        "photos/out.png",
        "--format",
        "jsonl",
    ];
    assert_eq!(place.run(&args).0, 0);
    assert_eq!(
        files(&lines(&place.read("photos/out.png"))),
        ["photos/a.png"]
    );
}

#[test]
fn other_commands_do_not_write_what_they_read_either() {
    let place = Place::new();
    place.photo("espresso.png", "data/193/e.png");
    place.file("table.tsv", b"file\tclass_index\n193/e.png\t193\n");
    let (photo, table) = ("data/193/e.png", "table.tsv");
    for (args, out) in [
        (vec!["preprocess", photo, "--npy", photo], photo),
        (vec!["eval", "--data", "data", "--answers", photo], photo),
        (
            vec![
                "eval",
                "--data",
                "data",
                "--labels",
                table,
                "--answers",
                table,
            ],
            table,
        ),
    ] {
        let before = fs::read(place.path(out)).unwrap();
        let mut command = resnet();
        command.current_dir(place.dir.path()).args(&args);
        let (code, _, stderr) = text_of(&command.output().unwrap());
        let words = format!("{out} is both read and to be written");
        assert!(code == 2 && stderr.contains(&words), "{args:?}: {stderr}");
        assert_eq!(fs::read(place.path(out)).unwrap(), before, "{args:?}");
    }
}

/// Sends a command a signal once a condition holds, and waits for its end.
fn ended_by(signal: &str, mut command: Command, when: impl Fn() -> bool) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Open to the end: what is waited for must not end before the signal has arrived.
    let _stdin = child.stdin.take();
    eventually("it has got so far", when);
    let pid = child.id().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .status();
    assert!(sent.unwrap().success());
    child.wait_with_output().unwrap()
}

#[test]
fn signal_keeps_what_is_done_and_resume_adds_the_rest() {
    let place = Place::with_photos();
    place.run(&["photos", "-k", "1", "-o", "whole.csv"]);
    place.pipe("pipe");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let _ = fs::remove_file(place.path("out.csv"));
        // It waits for the pipe, when the first folder is done.
        let command = place.command(&["-k", "1", "-o", "out.csv", "photos/a", "pipe", "photos/b"]);
        let answered = || {
            fs::read_to_string(place.path("out.csv")).is_ok_and(|text| text.lines().count() == 5)
        };
        let (ended, _, stderr) = text_of(&ended_by(signal, command, answered));
        assert_eq!(ended, code, "{stderr}");
        let words = format!("ended by SIG{signal}; the same command with --resume goes on\n");
        assert!(stderr.ends_with(&words), "{stderr}");
        assert!(stderr.starts_with("4 classified, 0 failed\n"), "{stderr}");
        assert!(place.read("whole.csv").starts_with(&place.read("out.csv")));
        let (code, _, stderr) = place.run(&["photos", "-k", "1", "-o", "out.csv", "--resume"]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(place.read("out.csv"), place.read("whole.csv"));
    }
}

#[test]
fn signal_ends_a_run_that_waits_for_standard_input() {
    let place = Place::new();
    place.photo("plate.png", "plate.png");
    let mut command = place.command(&["--json", "plate.png", "-", "-o", "out.jsonl"]);
    command.stdin(Stdio::piped());
    let answered = || fs::read_to_string(place.path("out.jsonl")).is_ok_and(|t| t.ends_with('\n'));
    let output = ended_by("INT", command, answered);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
}

#[test]
fn reader_that_has_gone_ends_the_run_without_a_word() {
    let place = Place::with_photos();
    let mut child = place
        .command(&["--json", "photos"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
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

#[test]
fn bar_is_shown_on_a_terminal_where_answers_are_not() {
    let place = Place::with_photos();
    let shown = on_a_terminal(&place.command(&["photos", "-o", "out.csv"]));
    assert!(
        shown.contains("classifying [") && shown.contains("/12, "),
        "{shown}"
    );
    assert!(shown.contains("12 classified, 0 failed"), "{shown}");
    let shown = on_a_terminal(&place.command(&["photos"]));
    assert!(!shown.contains("classifying ["), "{shown}");
}

#[test]
fn no_terminal_obeys_a_name() {
    let place = Place::new();
    let names = [
        "photos/\u{1b}[31mred.png",
        "photos/\u{9b}2Jx.png",
        "photos/a\nb.jpg",
    ];
    place.photo("plate.png", names[0]);
    place.photo("plate.png", names[1]);
    place.file(names[2], b"");
    let (_, stdout, _) = place.run(&["--json", "photos"]);
    let found = lines(&stdout);
    assert_eq!(
        files(&found),
        [names[0], names[2], names[1]],
        "JSON means the names"
    );
    let seen = |text: &str, what: &str| {
        let obeyed = |c: char| c.is_control() && c != '\n' && c != '\r';
        assert!(!text.contains(obeyed), "{what}: {text:?}");
        assert!(text.contains("\\u001b[31mred"), "{what}: {text:?}");
    };
    seen(&stdout, "JSON lines");
    for format in ["table", "csv"] {
        let command = place.command(&["--format", format, "photos"]);
        seen(&on_a_terminal(&command), format);
    }
    let (_, stdout, stderr) = place.run(&["photos"]);
    seen(&stdout, "a table in a pipe");
    assert!(stderr.contains("  photos/a\\u000ab.jpg: "), "{stderr}");
    let (_, csv, _) = place.run(&["--format", "csv", "photos"]);
    assert!(csv.contains(names[0]), "a program gets the name itself");
    let gone = "no\u{1b}[2Jsuch.png";
    let (_, _, stderr) = place.run(&[gone]);
    assert!(
        stderr.starts_with("no\\u001b[2Jsuch.png: cannot be read"),
        "{stderr}"
    );
}
