//! How often the models are right over the labelled photos of the assets.

use serde_json::Value;

use super::eval_json;
use crate::harness::assets;

/// Figures over the labelled photos of the assets, of the built-in model or one of the assets' weights.
fn figures(model: &str, more: &[&str]) -> Option<Value> {
    let weights = match model {
        "resnet18-tiny" | "efficientnet-lite0" => model.to_owned(),
        _ => assets(&format!("models/{model}.onnx"))?
            .display()
            .to_string(),
    };
    let (code, json) = eval_json(&assets("eval")?, &[&["--model", &weights], more].concat());
    assert_eq!(code, 0, "{json}");
    println!(
        "{model}: top-1 {}, top-5 {}, confidence {}, calibration error {}",
        json["top1"], json["top5"], json["mean_confidence"], json["calibration_error"]
    );
    Some(json)
}

#[test]
fn resnet50_is_as_accurate_as_the_reference() {
    let Some(json) = figures("resnet50", &[]) else {
        return;
    };
    // Pillow and ONNX Runtime: 251 of 300
    assert_eq!(
        (&json["photos"], &json["top1"]["right"]),
        (&300.into(), &251.into())
    );
}

#[test]
fn resnet18_is_as_accurate_as_the_reference() {
    let Some(json) = figures("resnet18", &[]) else {
        return;
    };
    // as above: 234 of 300
    assert_eq!(
        (&json["photos"], &json["top1"]["right"]),
        (&300.into(), &234.into())
    );
}

#[test]
fn preset_reaches_the_accuracy_of_its_card() {
    let Some(json) = figures("efficientnet-lite0", &[]) else {
        return;
    };
    // The card says 90.0 % and 98.0 %: 270 and 294 of 300. Photos are turned as their EXIF says, and there not.
    for (figure, card) in [("top1", 270), ("top5", 294)] {
        let right = json[figure]["right"].as_u64().unwrap();
        assert!(right.abs_diff(card) <= 2, "{figure} {right}");
    }
}

#[test]
fn small_model_reaches_the_accuracy_of_its_card() {
    let Some(json) = figures("resnet18-tiny", &["--known-only"]) else {
        return;
    };
    assert_eq!(
        (&json["photos"], &json["left_out"]),
        (&71.into(), &229.into())
    );
    // The card says 49.3 % and 78.9 %; one point is less than one of the 71 photos.
    for (figure, card) in [("top1", 0.493), ("top5", 0.789)] {
        let got = json[figure]["accuracy"].as_f64().unwrap();
        assert!((got - card).abs() <= 0.01, "{figure} {got}");
    }
}
