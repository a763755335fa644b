//! What a run over folders writes, in which form and where to.

use std::fs;
use std::os::unix::fs::symlink;

use super::super::terminal::on_a_terminal;
use super::super::text_of;
use super::{Place, files, lines};
use crate::harness::resnet;

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
fn what_is_read_is_not_written() {
    let place = Place::new();
    place.photo("plate.png", "copy.png");
    symlink("copy.png", place.path("link.png")).unwrap();
    fs::hard_link(place.path("copy.png"), place.path("hard.png")).unwrap();
    let photo = fs::read(place.path("copy.png")).unwrap();
    for (input, out) in [
        ("copy.png", "copy.png"),
        ("copy.png", "./link.png"),
        ("link.png", "copy.png"),
        ("copy.png", "hard.png"),
        ("hard.png", "link.png"),
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
    for (file, link) in [(photo, "photo.csv"), (table, "table.jsonl")] {
        std::os::unix::fs::symlink(file, place.path(link)).unwrap();
    }
    std::os::unix::fs::symlink("e.png", place.path("data/193/e.npy")).unwrap();
    let array = "data/193/e.npy";
    for (args, out) in [
        (vec!["preprocess", array, "--npy", array], array),
        (
            vec!["eval", "--data", "data", "--answers", "photo.csv"],
            photo,
        ),
        (
            vec![
                "eval",
                "--data",
                "data",
                "--labels",
                table,
                "--answers",
                "table.jsonl",
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
