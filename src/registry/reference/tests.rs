//! What `--model` and clients may name, and what they get.

use super::*;

fn parse(value: &str, store: &Path) -> Result<ModelRef, ModelError> {
    ModelRef::parse(value, &Catalog::builtin(), Some(&Store::new(store)))
}

#[test]
fn values_name_catalogue_entries_files_and_directories() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("birds.onnx");
    std::fs::write(&file, "x").expect("writable");
    let file = file.to_string_lossy();
    let of = |value: &str| parse(value, dir.path()).map(|m| m.name);
    for builtin in BUILTINS {
        assert_eq!(of(builtin.name).expect("built in"), builtin.name);
    }
    assert_eq!(of(&file).expect("a file"), "birds");
    assert_eq!(of(&format!("mine={file}")).expect("a named file"), "mine");
    assert!(matches!(of("resnet50"), Err(ModelError::NotPulled { .. })));
    assert!(matches!(
        of(&format!("no spaces={file}")),
        Err(ModelError::BadName(_))
    ));
    assert!(matches!(
        of("missing.onnx"),
        Err(ModelError::Unreadable { .. })
    ));
}

#[test]
fn versions_lie_in_the_store_or_are_given_with_a_path() {
    let root = tree(&["birds/2/model.onnx", "birds.onnx", "trees.onnx"]);
    let store = Store::new(root.path());
    let directory = |reference: ModelRef| match reference.source {
        ModelOrigin::Directory(path) => (reference.name, path),
        other => panic!("{other:?}"),
    };
    let in_store = |name: &str| ModelRef::in_store(name, &Catalog::builtin(), Some(&store));
    let expected = ("birds@2".to_owned(), root.path().join("birds/2"));
    assert_eq!(directory(in_store("birds@2").expect("a version")), expected);
    assert_eq!(
        directory(parse("birds@2", root.path()).expect("a version")),
        expected
    );
    let named = parse("owls@7=birds@2", root.path()).expect("a version");
    assert_eq!(directory(named).0, "owls@7");
    let path = root.path().join("trees.onnx").display().to_string();
    let named = parse(&format!("trees@3={path}"), root.path()).expect("a file");
    assert_eq!(named.name, "trees@3");
    for name in ["birds@3", "trees@2", "resnet18-tiny@2"] {
        assert!(
            matches!(in_store(name), Err(ModelError::NotInStore { .. })),
            "{name}"
        );
        assert!(
            matches!(parse(name, root.path()), Err(ModelError::Unknown { .. })),
            "{name}"
        );
    }
    for name in ["birds@0", "birds@x", "birds@", "@2", "../birds@2"] {
        assert!(
            matches!(in_store(name), Err(ModelError::BadName(_))),
            "{name}"
        );
    }
}

/// Files below a directory.
fn tree(files: &[&str]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a directory");
    for file in files {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
        std::fs::write(path, "x").expect("writable");
    }
    root
}

#[test]
fn bare_name_is_the_newest_version_in_the_store() {
    let root = tree(&[
        "birds/1/model.onnx",
        "birds/2/model.onnx",
        "birds/10/model.onnx",
        "birds/11/labels.txt",
        "birds/012/model.onnx",
        "birds/0/model.onnx",
        "birds/next/model.onnx",
        "birds/config.pbtxt",
        "trees/1/model.onnx",
        "trees/model.onnx",
        "owls/1/labels.txt",
        "flowers.onnx",
    ]);
    let store = Store::new(root.path());
    let clients = |name: &str| ModelRef::in_store(name, &Catalog::builtin(), Some(&store));
    let flag = |value: &str| parse(value, root.path());
    let found = |reference: ModelRef| match reference.source {
        ModelOrigin::Directory(path) | ModelOrigin::File(path) => {
            let path = path.strip_prefix(root.path()).expect("in the store");
            (reference.name, path.display().to_string())
        }
        other => panic!("{other:?}"),
    };
    for (value, name, path) in [
        ("birds", "birds@10", "birds/10"),
        ("birds@1", "birds@1", "birds/1"),
        ("birds@2", "birds@2", "birds/2"),
        // Whoever loads it says what it lacks.
        ("birds@11", "birds@11", "birds/11"),
        ("owls", "owls", "owls"),
        // A directory with a model of its own is that model, whatever else lies in it.
        ("trees", "trees", "trees"),
        ("trees@1", "trees@1", "trees/1"),
        ("flowers", "flowers", "flowers.onnx"),
    ] {
        let expected = (name.to_owned(), path.to_owned());
        assert_eq!(
            found(flag(value).expect(value)),
            expected,
            "--model {value}"
        );
        assert_eq!(found(clients(value).expect(value)), expected, "{value}");
    }
    for value in ["birds@3", "trees@2", "flowers@2", "resnet18-tiny@2"] {
        let (wrong, of_client) = (flag(value), clients(value));
        let is_unknown = matches!(wrong, Err(ModelError::Unknown { .. }));
        assert!(is_unknown, "{value}: {wrong:?}");
        let is_unknown = matches!(of_client, Err(ModelError::NotInStore { .. }));
        assert!(is_unknown, "{value}: {of_client:?}");
    }
    for wrong in [flag("birds@3"), clients("birds@3")] {
        let text = wrong.expect_err("it is not there").to_string();
        let begin = "unknown model \"birds@3\", versions of birds are 1, 2, 10: ";
        assert!(text.starts_with(begin), "{text}");
        assert!(text.contains("models directory"), "{text}");
    }
    let text = clients("owl").expect_err("it is not there").to_string();
    assert!(!text.contains("path"), "{text}");
    let named = |value: &str| found(flag(value).expect(value));
    assert_eq!(named("fowl=birds"), ("fowl@10".into(), "birds/10".into()));
    assert_eq!(named("fowl@2=birds"), ("fowl@2".into(), "birds/2".into()));
    assert_eq!(named("fowl@7=birds@2"), ("fowl@7".into(), "birds/2".into()));
    let error = flag("fowl@3=birds").expect_err("it is not there");
    let text = error.to_string();
    assert!(
        text.ends_with("birds: has no version 3, but 1, 2, 10"),
        "{text}"
    );
}

#[test]
fn directory_of_versions_may_be_given_by_its_path() {
    let root = tree(&[
        "a/birds/1/model.onnx",
        "a/birds/3/model.onnx",
        "a/birds/4/labels.txt",
        "a/plain/model.onnx",
    ]);
    let at = |path: &str| root.path().join(path).display().to_string();
    let found = |value: &str| -> Result<(String, String), ModelError> {
        let reference = parse(value, Path::new("/nonexistent"))?;
        match reference.source {
            ModelOrigin::Directory(path) => Ok((reference.name, path.display().to_string())),
            other => panic!("{other:?}"),
        }
    };
    let birds = at("a/birds");
    for (value, name, path) in [
        (birds.clone(), "birds@3", "a/birds/3"),
        (format!("{birds}/"), "birds@3", "a/birds/3"),
        (format!("{birds}@1"), "birds@1", "a/birds/1"),
        (format!("owls={birds}"), "owls@3", "a/birds/3"),
        (format!("owls@1={birds}"), "owls@1", "a/birds/1"),
        // A version's own directory is a model as any other.
        (format!("{birds}/1"), "1", "a/birds/1"),
    ] {
        let expected = (name.to_owned(), at(path));
        assert_eq!(found(&value).expect(&value), expected, "{value}");
    }
    for value in [
        format!("{birds}@2"),
        format!("{birds}@4"),
        format!("{}@1", at("a/plain")),
    ] {
        let error = found(&value).expect_err(&value);
        let is_unreadable = matches!(error, ModelError::Unreadable { .. });
        assert!(is_unreadable, "{value}: {error}");
    }
}

#[test]
fn version_that_a_directory_does_not_have_is_refused_with_those_that_it_has() {
    let root = tree(&["birds/1/model.onnx", "birds/3/model.onnx"]);
    let birds = root.path().join("birds").display().to_string();
    for value in [
        format!("{birds}@7"),
        format!("birds@7={birds}"),
        format!("owls@3={birds}@7"),
    ] {
        let error = parse(&value, Path::new("/nonexistent")).expect_err(&value);
        let text = error.to_string();
        let expected = format!("{birds}: has no version 7, but 1, 3");
        assert_eq!(text, expected, "{value}");
    }
}

#[test]
fn name_means_the_same_directory_with_a_version_and_without() {
    // A word is a path below the crate's root, where tests run; the name is one that nothing there has.
    let made = tempfile::Builder::new()
        .prefix("birds-")
        .tempdir_in(".")
        .expect("writable");
    let name = made
        .path()
        .file_name()
        .expect("a name")
        .to_string_lossy()
        .into_owned();
    let here = Path::new(&name);
    for version in ["1", "2"] {
        std::fs::create_dir_all(here.join(version)).expect("writable");
        std::fs::write(here.join(version).join("model.onnx"), "x").expect("writable");
    }
    let store = tree(&[
        &format!("{name}/1/model.onnx"),
        &format!("{name}/3/model.onnx"),
    ]);
    let path = |value: &str| match parse(value, store.path()).expect(value).source {
        ModelOrigin::Directory(path) => path,
        other => panic!("{other:?}"),
    };
    assert_eq!(path(&name), here.join("2"));
    assert_eq!(path(&format!("{name}@1")), here.join("1"));
    let text = parse(&format!("{name}@3"), store.path());
    let text = text.expect_err("./birds has no such version").to_string();
    assert!(text.ends_with("has no version 3, but 1, 2"), "{text}");
}

#[test]
fn newest_of_a_directory_is_looked_for_again() {
    let root = tree(&["birds/1/model.onnx"]);
    let birds = root.path().join("birds");
    let given = parse(&format!("fowl={}", birds.display()), root.path()).expect("a version");
    assert_eq!(given.name, "fowl@1");
    std::fs::create_dir_all(birds.join("3")).expect("writable");
    std::fs::write(birds.join("3/model.onnx"), "x").expect("writable");
    let name = |number| {
        let found = given.version(number).expect("versions");
        found.map(|found| found.name).map_err(|e| e.to_string())
    };
    assert_eq!(name(None), Ok("fowl@3".to_owned()));
    assert_eq!(name(Some(1)), Ok("fowl@1".to_owned()));
    let text = name(Some(2)).expect_err("it is not there");
    assert!(text.ends_with("has no version 2, but 1, 3"), "{text}");
    // Who names a version means that one.
    let given = parse(&format!("fowl@1={}", birds.display()), root.path()).expect("a version");
    assert!(given.version(None).is_none());
}

#[test]
fn clients_name_what_lies_in_the_store_and_nothing_else() {
    let root = tempfile::tempdir().expect("a directory");
    let store = root.path().join("models");
    for file in [
        "models/birds.onnx",
        "models/trees/model.onnx",
        "secret.onnx",
    ] {
        let path = root.path().join(file);
        std::fs::create_dir_all(path.parent().expect("below")).expect("writable");
        std::fs::write(path, "x").expect("writable");
    }
    let store = Store::new(store);
    let of = |name: &str| ModelRef::in_store(name, &Catalog::builtin(), Some(&store));
    assert!(matches!(
        of("birds").expect("a file").source,
        ModelOrigin::File(_)
    ));
    assert!(matches!(
        of("trees").expect("a directory").source,
        ModelOrigin::Directory(_)
    ));
    for builtin in BUILTINS {
        assert_eq!(of(builtin.name).expect("built in").name, builtin.name);
    }
    assert!(matches!(of("resnet50"), Err(ModelError::NotPulled { .. })));
    for name in ["secret", "owls"] {
        assert!(
            matches!(of(name), Err(ModelError::NotInStore { .. })),
            "{name}"
        );
    }
    let secret = root.path().join("secret.onnx");
    for name in [
        "../secret",
        "..",
        ".",
        "",
        "a=birds",
        &secret.to_string_lossy(),
        "birds\0",
    ] {
        assert!(matches!(of(name), Err(ModelError::BadName(_))), "{name}");
    }
}

#[cfg(unix)]
#[test]
fn model_is_called_what_was_written_wherever_links_lead() {
    use std::fs;
    use std::os::unix::fs::symlink;
    let root = tempfile::tempdir().expect("a directory");
    let at = |path: &str| root.path().join(path);
    for file in [
        "volume/..2026_11_29/model.onnx",
        "volume/..2026_11_29/birds.onnx",
        "git/.worktrees/0a1b/trees.onnx",
        "git/.worktrees/0a1b/model.onnx",
        "shop/releases/3/model.onnx",
        "hub/models--some--birds/blobs/4f5e",
        "runs/epoch_9.onnx",
        "cats/onnx/model.onnx",
        "model/model.onnx",
    ] {
        fs::create_dir_all(at(file).parent().expect("below")).expect("writable");
        fs::write(at(file), "x").expect("writable");
    }
    fs::create_dir_all(at("hub/models--some--birds/snapshots/34c2")).expect("writable");
    for (target, link) in [
        ("..2026_11_29", "volume/..data"),
        ("..data/model.onnx", "volume/model.onnx"),
        ("..data/birds.onnx", "volume/birds.onnx"),
        (".worktrees/0a1b", "git/link"),
        ("releases/3", "shop/current"),
        (
            "../../blobs/4f5e",
            "hub/models--some--birds/snapshots/34c2/fowl.onnx",
        ),
        (
            "../../blobs/4f5e",
            "hub/models--some--birds/snapshots/34c2/model.onnx",
        ),
        ("runs/epoch_9.onnx", "best.onnx"),
    ] {
        symlink(target, at(link)).expect("writable");
    }
    for (path, name) in [
        ("volume/birds.onnx", "birds"),
        ("volume/model.onnx", "volume"),
        ("volume", "volume"),
        ("volume/..data", "volume"),
        ("volume/..data/model.onnx", "volume"),
        ("volume/..data/birds.onnx", "birds"),
        ("git/link", "link"),
        ("git/link/", "link"),
        ("git/link/.", "link"),
        ("git/link/trees.onnx", "trees"),
        ("git/link/model.onnx", "link"),
        ("shop/current", "current"),
        ("shop/current/model.onnx", "current"),
        ("shop/releases/3/model.onnx", "3"),
        ("hub/models--some--birds/snapshots/34c2/fowl.onnx", "fowl"),
        ("hub/models--some--birds/snapshots/34c2/model.onnx", "34c2"),
        ("best.onnx", "best"),
        ("cats/onnx/model.onnx", "cats"),
        ("cats/onnx", "cats"),
        ("cats", "cats"),
        ("volume/../cats/onnx/model.onnx", "cats"),
        ("cats/onnx/..", "cats"),
    ] {
        let reference = parse(&at(path).to_string_lossy(), root.path());
        assert_eq!(reference.expect(path).name, name, "{path}");
    }
}

#[test]
fn typo_gets_a_suggestion() {
    let error = parse("resnet5O", Path::new("/nonexistent"))
        .expect_err("a typo")
        .to_string();
    assert!(error.contains("did you mean \"resnet50"), "{error}");
}
