//! `show`, `doctor` and `ls` as programs read them: one object each, whose keys stay.

use serde_json::Value;

use super::run;
use crate::harness::{fixture, preset};

fn json(args: &[&str]) -> (i32, Value) {
    let (code, stdout, stderr) = run(args);
    let json = serde_json::from_str(&stdout);
    (
        code,
        json.unwrap_or_else(|e| panic!("{args:?}: {e}: {stdout}{stderr}")),
    )
}

fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> = object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

#[test]
fn show_of_a_built_in_model_has_what_the_server_tells_and_where_it_is_from() {
    let (code, shown) = json(&["show", "--json", "resnet18-tiny", "--precision", "f32"]);
    assert_eq!(code, 0);
    assert_eq!(keys(&shown), ["built_in", "catalogue", "loaded", "model"]);
    assert_eq!(shown["catalogue"], Value::Null);
    assert!(shown["built_in"]["license"].is_string(), "{shown}");
    let loaded = &shown["loaded"];
    assert_eq!(
        keys(loaded),
        [
            "bytes",
            "classes",
            "features",
            "file",
            "input",
            "instructions",
            "labels_from",
            "license",
            "load_ms",
            "name",
            "notes",
            "operators",
            "output",
            "output_reason",
            "precision",
            "precision_reason",
            "preprocess",
            "preprocess_from",
            "runtime",
            "sha256"
        ]
    );
    assert_eq!(loaded["file"], "built-in");
    assert_eq!(loaded["precision"], "f32");
    assert_eq!(loaded["input"]["shape"], serde_json::json!([-1, 3, 64, 64]));
    assert_eq!(loaded["classes"].as_array().unwrap().len(), 200);
    assert_eq!(loaded["classes"][193]["label"], "espresso");
    assert!(loaded["operators"]["left_to_tract"].is_array(), "{loaded}");
}

#[test]
fn show_of_a_model_that_is_not_pulled_has_the_catalogues_words() {
    let (code, shown) = json(&["show", "--json", "resnet50"]);
    assert_eq!((code, &shown["loaded"]), (0, &Value::Null));
    let catalogue = &shown["catalogue"];
    assert_eq!(catalogue["name"], "resnet50-v1-12");
    assert_eq!(catalogue["sha256"].as_str().unwrap().len(), 64);
    let file = fixture("models/opset13.onnx").display().to_string();
    let (_, shown) = json(&["show", "--json", &file]);
    assert_eq!(shown["loaded"]["file"], file);
    assert_eq!(shown["built_in"], Value::Null);
}

#[test]
fn doctor_has_the_same_facts_for_programs() {
    let output = preset().args(["doctor", "--json"]).output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        keys(&found),
        [
            "architecture",
            "connections_allowed",
            "cpu_features",
            "cpus",
            "cpus_reason",
            "error",
            "instructions",
            "machine_memory_bytes",
            "memory_bound_bytes",
            "memory_limit_bytes",
            "models",
            "open_files_hard",
            "open_files_soft",
            "pixel_kernels",
            "precision",
            "store",
            "system",
            "threads",
            "version"
        ]
    );
    assert_eq!(found["error"], Value::Null);
    assert!(found["cpus"].as_u64().unwrap() > 0);
    assert!(found["threads"]["prep"].as_u64().unwrap() > 0);
    assert!(found["connections_allowed"].as_u64().unwrap() > 0);
    assert!(found["machine_memory_bytes"].as_u64().unwrap() > 64 << 20);
    assert_eq!(found["models"][0]["name"], "efficientnet-lite0");
    assert_eq!(found["models"][0]["classes"], 1000);
    let (code, found) = json(&["doctor", "--json", "--model", "resnet50", "--isa", "scalar"]);
    assert_eq!((code, &found["instructions"]), (1, &"scalar".into()));
    assert!(
        found["error"]
            .as_str()
            .unwrap()
            .contains("resnet pull resnet50"),
        "{found}"
    );
    assert_eq!(found["models"], serde_json::json!([]));
}

#[test]
fn ls_has_a_row_a_model() {
    let (code, listed) = json(&["ls", "--json"]);
    assert_eq!(code, 0);
    assert_eq!(keys(&listed), ["models", "models_dir"]);
    assert_eq!(
        keys(&listed["models"][2]),
        [
            "aliases",
            "bytes",
            "bytes_on_disk",
            "description",
            "license",
            "name",
            "note",
            "state",
            "top1",
            "top5"
        ]
    );
}
