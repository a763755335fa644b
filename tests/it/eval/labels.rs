//! What the photos show, by a table or by class folders, and labels that do not fit.

use super::{data, eval, eval_json, good_table};
use crate::harness::fixture;

#[test]
fn class_folders_are_named_by_wnid_name_or_index() {
    let dir = tempfile::tempdir().unwrap();
    // 193 is the espresso's place in the built-in model; the orange lies among the plates.
    for (folder, file) in [
        ("193", "espresso.png"),
        ("n07579787", "plate.png"),
        ("n07579787", "orange.png"),
        ("Trolleybus", "trolleybus.png"),
        (".cache", "plate.png"),
    ] {
        let folder = dir.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::copy(fixture(&format!("photos/{file}")), folder.join(file)).unwrap();
        std::fs::write(folder.join("notes.txt"), "no photo").unwrap();
    }
    let (code, json) = eval_json(dir.path(), &[]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(
        (&json["photos"], &json["top1"]["right"]),
        (&4.into(), &3.into())
    );
    let worst = &json["classes"][0];
    assert_eq!(
        (&worst["label"], &worst["photos"], &worst["right"]),
        (&"plate".into(), &2.into(), &1.into())
    );
    assert_eq!(worst["taken_for"][0]["label"], "orange");
    let (_, text, _) = eval(dir.path(), &[]);
    assert!(
        text.contains("    1 of 2   n07579787 plate: n07747607 orange\n"),
        "{text}"
    );
}

#[test]
fn labels_that_do_not_fit_are_refused_in_one_line_before_any_photo() {
    let head = "file\tclass_index\twnid\n";
    for (rows, words) in [
        (
            "plate.png\t137\tn02018207\n",
            "line 2: wnid n02018207 is none of the 200 classes of resnet18-tiny; --known-only",
        ),
        (
            "orange.png\t950\tn07747607\nplate.png\t950\tn07579787\n",
            // 950 is beyond the 200 classes, but not beyond ImageNet's
            "",
        ),
        (
            "orange.png\t186\tn07747607\nplate.png\t186\tn07579787\n",
            "line 3: class_index 186 is not the class of wnid n07579787",
        ),
        (
            "plate.png\t200\t\n",
            "line 2: class_index is 200, those of resnet18-tiny are 0 to 199",
        ),
        ("plate.png\tmany\t\n", "line 2: class_index is \"many\""),
        ("plate.png\t\t\n", "line 2: \"plate.png\" has no class"),
        ("nothing.png\t\tn07579787\n", "none of its 1 files is in"),
        ("", "no photo follows the head line"),
    ] {
        let dir = data(&format!("{head}{rows}"));
        let (code, stdout, stderr) = eval(dir.path(), &[]);
        if words.is_empty() {
            assert_eq!(code, 0, "{rows}: {stderr}");
            continue;
        }
        assert_eq!((code, stdout.as_str()), (1, ""), "{rows}: {stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains("labels.tsv: "),
            "{stderr}"
        );
        assert!(stderr.contains(words), "{words} is not in {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn known_only_leaves_out_what_the_model_does_not_know() {
    let dir = data(&(good_table() + "swamphen.png\t136\tn02018207\n"));
    let (code, json) = eval_json(dir.path(), &["--known-only"]);
    assert_eq!(code, 0);
    assert_eq!((&json["photos"], &json["left_out"]), (&4.into(), &1.into()));
    let (_, text, _) = eval(dir.path(), &["--known-only"]);
    assert!(
        text.contains("photos        4, 1 more left out, not of its classes"),
        "{text}"
    );
    let dir = data("file\twnid\nplate.png\tn02018207\n");
    let (code, _, stderr) = eval(dir.path(), &["--known-only"]);
    assert!(
        code == 1 && stderr.contains("none of the 1 photos"),
        "{stderr}"
    );
}

#[test]
fn model_without_wnids_is_scored_by_index_only() {
    let model = fixture("models/opset13.onnx").display().to_string();
    let dir = data("file\twnid\nplate.png\tn07579787\n");
    let (code, _, stderr) = eval(dir.path(), &["--model", &model]);
    assert!(
        code == 1 && stderr.contains("opset13 have no wnids"),
        "{stderr}"
    );
    let dir = data("file\twnid\tclass_index\nplate.png\tn07579787\t3\n");
    let (code, json) = eval_json(dir.path(), &["--model", &model]);
    assert_eq!(code, 0, "{json}");
    assert_eq!(json["classes"][0]["class_index"], 3);
    assert!(json["classes"][0].get("wnid").is_none(), "{json}");
}
