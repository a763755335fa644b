//! `resnet classify` on folders: what is taken, what is skipped, and that each photo has its answer.

mod output;
mod resume;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::text_of;
use crate::harness::{fixture, resnet};

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
