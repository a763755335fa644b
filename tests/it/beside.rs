//! What lies beside a model, or in its file, is read, said, and refused where it cannot be honoured.

use std::fs;
use std::path::Path;

use prost::Message;
use resnet::engine::EngineOptions;
use resnet::preprocess::{Channels, Interpolation, ResizeMode};
use resnet::registry::{Catalog, LoadedModel, ModelRef, load};
use resnet::tensor::Size;
use tract_onnx::pb::{ModelProto, StringStringEntryProto};

use crate::harness::{Process, fixture, fixture_bytes, resnet};

pub(crate) fn model(path: &Path) -> Result<LoadedModel, String> {
    let value = format!("m={}", path.display());
    let reference =
        ModelRef::parse(&value, &Catalog::builtin(), None).map_err(|e| e.to_string())?;
    load(&reference, &EngineOptions::default()).map_err(|e| e.to_string())
}

/// A directory with `birds.onnx`, a network of 7 classes and 32×32 pixels, and text files.
fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::copy(
        fixture("models/opset13.onnx"),
        dir.path().join("birds.onnx"),
    )
    .unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn loaded(files: &[(&str, &str)]) -> Result<LoadedModel, String> {
    model(&directory(files).path().join("birds.onnx"))
}

fn names(model: &LoadedModel) -> String {
    let names: Vec<&str> = model.labels.iter().map(|l| &*l.label).collect();
    names.join("|")
}

#[test]
fn labels_of_every_form_name_the_classes() {
    let expected = "dog, small|dog, large|cat|bird|fox|owl|bee";
    for (name, text) in [
        (
            "labels.txt",
            "dog, small\ndog, large\ncat\nbird\nfox\nowl\nbee\n",
        ),
        (
            "labels.txt",
            "\u{feff}dog, small\r\ndog, large\r\ncat\r\nbird\r\nfox\r\nowl\r\nbee\r\n\r\n",
        ),
        (
            "labels.txt",
            "dog, small\rdog, large\rcat\rbird\rfox\rowl\rbee\r",
        ),
        (
            "labels.txt",
            "0,dog, small\n1,dog, large\n2,cat\n3,bird\n4,fox\n5,owl\n6,bee\n",
        ),
        (
            "labels.txt",
            "0: dog, small\n1: dog, large\n2: cat\n3: bird\n4: fox\n5: owl\n6: bee\n",
        ),
        (
            "labels.txt",
            "0 dog, small\n1 dog, large\n2 cat\n3 bird\n4 fox\n5 owl\n6 bee",
        ),
        (
            "labels.csv",
            "index,name\n0,\"dog, small\"\n1,\"dog, large\"\n2,cat\n3,bird\n4,fox\n5,owl\n6,bee\n",
        ),
        (
            "birds.labels.txt",
            "\"dog, small\"\n\"dog, large\"\ncat\nbird\nfox\nowl\nbee\n",
        ),
        (
            "labels.json",
            r#"["dog, small", "dog, large", "cat", "bird", "fox", "owl", "bee"]"#,
        ),
        (
            "id2label.json",
            r#"{"0": "dog, small", "1": "dog, large", "2": "cat", "3": "bird", "4": "fox", "5": "owl", "6": "bee"}"#,
        ),
        (
            "labels.txt",
            "{0: 'dog, small', 1: 'dog, large', 2: 'cat', 3: 'bird', 4: 'fox', 5: 'owl', 6: 'bee'}",
        ),
        (
            "config.json",
            r#"{"id2label": {"0": "dog, small", "1": "dog, large", "2": "cat", "3": "bird", "4": "fox", "5": "owl", "6": "bee"}}"#,
        ),
    ] {
        let model = loaded(&[(name, text)]).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(names(&model), expected, "{name}: {text}");
        assert_eq!(model.labels_from, name);
        assert!(model.notes.is_empty(), "{:?}", model.notes);
    }
}

#[test]
fn labels_that_do_not_fit_are_refused_with_their_file() {
    for (name, text, words) in [
        (
            "labels.txt",
            "a\nb\n",
            "there are 2 labels, the network has 7 classes (labels.txt has the labels)",
        ),
        (
            "config.json",
            r#"{"id2label": {"0": "a", "1": "b"}}"#,
            "has 7 classes (config.json has the labels)",
        ),
        (
            "labels.json",
            r#"{"0": "a", "2": "b"}"#,
            "labels.json: the labels do not name class 1",
        ),
        (
            "labels.txt",
            "a\n\nb",
            "labels.txt: line 2 of the labels is blank",
        ),
        ("config.json", "{", "config.json: is damaged JSON"),
        (
            "config.json",
            "{\n\"a\": NaN,\n\"b\": nan}",
            "config.json: is damaged JSON: expected ident at line 3 column 7",
        ),
        (
            "config.json",
            r#"{"id2label": {"0": "a", "1": NaN}}"#,
            "config.json: the labels call class 1 NaN, expected a name",
        ),
        (
            "preprocessor_config.json",
            "[]",
            "preprocessor_config.json: is no JSON object",
        ),
    ] {
        let error = loaded(&[(name, text)]).expect_err(words);
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn equal_labels_are_warned_of_at_load() {
    let dir = directory(&[("labels.txt", "dog\ncat\ndog\nfox\nowl\ncat\nbee\n")]);
    let path = dir.path().join("birds.onnx");
    let note = "0 and 2 are both \"dog\", 1 and 5 are both \"cat\"";
    let model = model(&path).unwrap();
    assert_eq!(model.notes.len(), 1);
    assert!(model.notes[0].contains(note), "{:?}", model.notes);
    let server = Process::start(&["--model", path.to_str().unwrap()]);
    let warning = server.log.message("classes have equal labels");
    assert_eq!(
        (&warning["model"], &warning["level"]),
        (&"birds".into(), &"WARN".into())
    );
    assert!(
        warning["message"].as_str().unwrap().contains(note),
        "{warning}"
    );
    let described = server.log.message("model described");
    assert_eq!(described["labels_from"], "labels.txt");
    assert!(described["preprocess_from"].is_string(), "{described}");
}

const VIT: &str = r#"{"do_normalize": true, "do_rescale": true, "do_resize": true, "image_mean": [0.4, 0.5, 0.6],
    "image_std": [0.5, 0.5, 0.5], "resample": 3, "size": {"height": 32, "width": 32}}"#;

const TIMM: &str = r#"{"architecture": "resnet10t", "pretrained_cfg": {"input_size": [3, 176, 176], "crop_pct": 0.9,
    "interpolation": "bicubic", "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.4, 0.4]}}"#;

#[test]
fn what_exporters_leave_is_taken_and_said() {
    let vit = loaded(&[("preprocessor_config.json", VIT)]).unwrap();
    let spec = &vit.preprocess;
    assert_eq!(
        (spec.resize, spec.resize_mode),
        (Size::square(32), ResizeMode::Stretch)
    );
    assert_eq!(
        (spec.mean, spec.interpolation),
        ([0.4, 0.5, 0.6], Interpolation::Bicubic)
    );
    assert_eq!(
        vit.preprocess_from,
        "resize, resize_mode, interpolation, crop, crop_rounding, channels, scale, mean, std: preprocessor_config.json"
    );

    let timm = loaded(&[("config.json", TIMM)]).unwrap();
    let spec = &timm.preprocess;
    assert_eq!(
        (spec.resize, spec.crop, spec.mean),
        (Size::square(35), Size::square(32), [0.1, 0.2, 0.3])
    );
    assert!(
        timm.preprocess_from.ends_with("crop: the network's input"),
        "{}",
        timm.preprocess_from
    );

    let both = loaded(&[("config.json", TIMM), ("preprocessor_config.json", VIT)]).unwrap();
    assert_eq!(both.preprocess, vit.preprocess);

    let own = "[preprocess]\ninterpolation = \"bilinear\"\nmean = [0.7, 0.7, 0.7]\n";
    let own = loaded(&[("birds.toml", own), ("preprocessor_config.json", VIT)]).unwrap();
    assert_eq!(
        (own.preprocess.mean, own.preprocess.std),
        ([0.7; 3], [0.5; 3])
    );
    assert!(
        own.preprocess_from
            .contains("interpolation, mean: birds.toml"),
        "{}",
        own.preprocess_from
    );
}

#[test]
fn what_cannot_be_honoured_is_refused_unless_the_toml_says_otherwise() {
    let lanczos = VIT.replace("\"resample\": 3", "\"resample\": 1");
    let error = loaded(&[("preprocessor_config.json", &lanczos)]).expect_err("no such filter");
    assert!(
        error.contains("birds.onnx: preprocessor_config.json: resample is 1, allowed are 2 (bilinear) and 3 (bicubic)"),
        "{error}"
    );
    let toml = "[preprocess]\ninterpolation = \"bicubic\"\n";
    loaded(&[("preprocessor_config.json", &lanczos), ("model.toml", toml)]).unwrap();
    let raw = VIT.replace("\"do_rescale\": true", "\"do_rescale\": false");
    let error = loaded(&[("preprocessor_config.json", &raw)]).expect_err("0.4 of 255");
    assert!(error.contains("but pixels are 0 to 255"), "{error}");
}

/// Python's `json` writes `NaN` and `Infinity`, which JSON does not have.
#[test]
fn number_that_is_none_does_harm_only_where_it_is_asked_for() {
    let more = "{\"_loss\": NaN, \"_bound\": [-Infinity, Infinity], ";
    let harmless = VIT.replacen('{', more, 1);
    let found = loaded(&[("preprocessor_config.json", &harmless)]).unwrap();
    assert_eq!(found.preprocess.mean, [0.4, 0.5, 0.6]);
    let note = "_bound is [-Infinity,Infinity], _loss is NaN";
    assert!(found.notes[0].ends_with(note), "{:?}", found.notes);
    loaded(&[("config.json", r#"{"layer_norm_eps": NaN}"#)]).unwrap();

    for (name, text, words) in [
        (
            "preprocessor_config.json",
            VIT.replace("[0.4, 0.5, 0.6]", "[0.4, NaN, 0.6]"),
            "image_mean is [0.4,NaN,0.6], expected three numbers",
        ),
        (
            "preprocessor_config.json",
            VIT.replace("\"do_resize\": true", "\"do_resize\": -Infinity"),
            "do_resize is -Infinity, expected true or false",
        ),
        (
            "config.json",
            TIMM.replace("0.9", "Infinity"),
            "crop_pct is Infinity, expected a number above 0",
        ),
    ] {
        let error = loaded(&[(name, &text)]).expect_err(words);
        assert!(error.contains(&format!("{name}: {words}")), "{error}");
    }
}

#[test]
fn exporters_say_the_size_that_a_network_leaves_open() {
    let wide = VIT.replace("\"height\": 32", "\"height\": 24");
    for (name, text, height, width) in [
        ("preprocessor_config.json", VIT, 32, 32),
        ("preprocessor_config.json", &wide, 24, 32),
        ("config.json", r#"{"image_size": 40}"#, 40, 40),
        ("config.json", r#"{"image_size": [40, 24]}"#, 40, 24),
        ("config.json", TIMM, 176, 176),
        ("model.toml", "[preprocess]\ncrop = 48\n", 48, 48),
        ("model.toml", "[preprocess]\ncrop = [48, 40]\n", 48, 40),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("birds.onnx");
        fs::copy(fixture("models/dynamic_sides.onnx"), &file).unwrap();
        fs::write(dir.path().join(name), text).unwrap();
        let found = model(&file).unwrap_or_else(|e| panic!("{text}: {e}"));
        let size = Size { height, width };
        assert_eq!(
            (found.model.spec().size, found.preprocess.crop),
            (size, size)
        );
    }
}

fn with_metadata(pairs: &[(&str, &str)]) -> tempfile::TempDir {
    let mut proto = ModelProto::decode(&*fixture_bytes("models/opset13.onnx")).unwrap();
    proto.metadata_props = pairs
        .iter()
        .map(|(key, value)| StringStringEntryProto {
            key: (*key).into(),
            value: (*value).into(),
        })
        .collect();
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("birds.onnx"), proto.encode_to_vec()).unwrap();
    dir
}

#[test]
fn metadata_of_the_file_is_taken_and_said() {
    let dir = with_metadata(&[
        ("categories", r#"["a", "b", "c", "d", "e", "f", "g"]"#),
        ("Image.BitmapPixelFormat", "Bgr8"),
        ("Image.NominalPixelRange", "NominalRange_0_255"),
    ]);
    let file = dir.path().join("birds.onnx");
    let found = model(&file).unwrap();
    assert_eq!(names(&found), "a|b|c|d|e|f|g");
    assert_eq!(found.labels_from, "the file's metadata (categories)");
    assert_eq!(
        (found.preprocess.channels, found.preprocess.scale),
        (Channels::Bgr, 255.0)
    );
    let from = &found.preprocess_from;
    assert!(
        from.contains("channels, scale, mean, std: the file's metadata"),
        "{from}"
    );
    // Whatever else is said wins.
    fs::write(dir.path().join("labels.txt"), "1\n2\n3\n4\n5\n6\n7\n").unwrap();
    fs::write(
        dir.path().join("model.toml"),
        "[preprocess]\nchannels = \"rgb\"\n",
    )
    .unwrap();
    let found = model(&file).unwrap();
    assert_eq!(
        (names(&found).as_str(), found.preprocess.channels),
        ("1|2|3|4|5|6|7", Channels::Rgb)
    );
}

#[test]
fn each_left_out_setting_of_the_toml_follows_the_network() {
    for toml in [
        "",
        "[preprocess]\n",
        "[preprocess]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n",
        "[preprocess]\nresize_mode = \"stretch\"\n",
        "[preprocess]\nchannels = \"bgr\"\n",
    ] {
        for name in ["birds.toml", "model.toml"] {
            let model = loaded(&[(name, toml)]).unwrap_or_else(|e| panic!("{toml}: {e}"));
            let spec = &model.preprocess;
            assert_eq!(
                (spec.resize, spec.crop),
                (Size::square(37), Size::square(32)),
                "{toml}"
            );
            let half = toml.contains("0.5");
            assert_eq!(spec.mean == [0.5; 3], half, "{toml}");
        }
    }
}

#[test]
fn file_among_others_has_what_bears_its_name_and_the_rest_is_said() {
    let dir = directory(&[
        ("birds.toml", "[preprocess]\nresize = 40\n"),
        ("model.toml", "[preprocess]\nresize = 50\n"),
        ("labels.txt", "a\nb\n"),
    ]);
    fs::copy(fixture("models/opset12.onnx"), dir.path().join("cats.onnx")).unwrap();
    let birds = model(&dir.path().join("birds.onnx")).unwrap();
    assert_eq!(birds.preprocess.resize, Size::square(40));
    assert!(
        birds.notes[0].starts_with("model.toml, labels.txt beside it is not read"),
        "{:?}",
        birds.notes
    );
    let cats = model(&dir.path().join("cats.onnx")).unwrap();
    assert_eq!(cats.preprocess.resize, Size::square(37));
}

#[test]
fn show_says_what_was_taken_from_where() {
    let dir = directory(&[
        ("preprocessor_config.json", VIT),
        (
            "config.json",
            r#"{"id2label": {"0": "dog", "1": "dog", "2": "c", "3": "d", "4": "e", "5": "f", "6": "g"}}"#,
        ),
        ("model.toml", "[preprocess]\nmean = [0.7, 0.7, 0.7]\n"),
    ]);
    let output = resnet()
        .arg("show")
        .arg(dir.path().join("birds.onnx"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for words in [
        "both sides to 32 (bicubic), center crop 32, rounded down, mean [0.7, 0.7, 0.7]",
        "mean: model.toml",
        "crop, crop_rounding, channels, scale, std: preprocessor_config.json",
        "config.json",
        "0 and 1 are both \"dog\"",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
