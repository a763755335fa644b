//! Forms of every format against what the reference makes of them: Pillow, of what `tests/fixtures/make_matrix.py`
//! generates, and libheif, libavif and libjxl, of what `make_heic.py`, `make_avif.py` and `make_jxl.py` do.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use resnet::preprocess::{
    ExifMode, ImageOptions, Pixels, PreprocessSpec, Preprocessor, Stage, StageOutput, sniff,
};
use resnet::registry::sha256_of;
use serde_json::Value;

use crate::harness::fixture_json;

/// The decoded picture, or the refusal.
fn decoded(preprocessor: &Preprocessor, bytes: &[u8], exif: ExifMode) -> Result<Pixels, String> {
    let decoded = preprocessor.stage(bytes, exif, Stage::Decoded);
    match decoded.map_err(|e| format!("{e} ({e:?})"))? {
        StageOutput::Pixels(pixels) => Ok(pixels),
        StageOutput::Tensor(_) => panic!("a decoded picture is pixels"),
    }
}

/// Size and digest of the decoded picture, or the refusal.
fn ours(preprocessor: &Preprocessor, bytes: &[u8]) -> Result<Value, String> {
    let pixels = decoded(preprocessor, bytes, ExifMode::Ignore)?;
    let digest = sha256_of(&mut &pixels.rgb[..]).unwrap();
    Ok(serde_json::json!({
        "width": pixels.width, "height": pixels.height, "rgb": &digest[..16],
    }))
}

/// Every form of a format, at least so many: the same pixels as Pillow, or a refusal where Pillow refuses; where a form
/// has a line of its own in `due`, what that says.
fn check(format: &str, at_least: usize) {
    let matrix = fixture_json(&format!("matrix/{format}.json"));
    let forms = matrix["forms"].as_object().unwrap();
    assert!(forms.len() >= at_least, "{} forms", forms.len());
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    let mut wrong = Vec::new();
    for (name, about) in forms {
        let bytes = STANDARD.decode(about["file"].as_str().unwrap()).unwrap();
        let got = ours(&preprocessor, &bytes);
        let due = about.get("due").unwrap_or(&about["pillow"]);
        let as_due = match &got {
            Ok(_) if due.get("refused").is_some() => false,
            Ok(_) if due.get("taken").is_some() => true,
            Ok(got) => {
                assert_eq!(sniff(&bytes).map(|f| f.name()), Some(format), "{name}");
                got["rgb"] == due["rgb"]
                    && ["width", "height"]
                        .iter()
                        .all(|side| got[side] == *due.get(side).unwrap_or(&got[side]))
            }
            Err(_) => due.get("refused").is_some(),
        };
        if !as_due {
            wrong.push(format!("{name}: due is {due}, but {got:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every form of a format, at least so many: turned as its file says, no sample is more than 2 levels from the library's
/// and all of a picture 0.5 on average, unless `expected.json` says otherwise. Colors are rounded in other places there.
#[cfg(any(feature = "heic", feature = "avif", feature = "jxl"))]
fn check_near(format: &str, at_least: usize) {
    let expected = fixture_json(&format!("{format}/expected.json"));
    let forms = expected["images"].as_object().unwrap();
    assert!(forms.len() >= at_least, "{} forms", forms.len());
    let preprocessor = Preprocessor::new(PreprocessSpec::default(), ImageOptions::default());
    let pixels_of = |name: &str| {
        let bytes = crate::harness::fixture_bytes(&format!("{format}/{name}"));
        decoded(&preprocessor, &bytes, ExifMode::Apply)
    };
    let mut wrong = Vec::new();
    for (name, about) in forms {
        let due = pixels_of(about["pixels"].as_str().unwrap()).unwrap();
        let got = match pixels_of(name) {
            Ok(got) if (got.width, got.height) == (due.width, due.height) => got.rgb,
            Ok(got) => {
                wrong.push(format!("{name}: {}×{}", got.width, got.height));
                continue;
            }
            Err(e) => {
                wrong.push(format!("{name}: {e}"));
                continue;
            }
        };
        let apart = got.iter().zip(&due.rgb).map(|(a, b)| a.abs_diff(*b));
        let most = apart.clone().max().unwrap_or(0);
        let mean = apart.map(f64::from).sum::<f64>() / due.rgb.len() as f64;
        let is_near = match about["mean"].as_f64() {
            None => most <= 2 && mean <= 0.5,
            Some(allowed) => mean <= allowed,
        };
        if !is_near {
            wrong.push(format!("{name}: {most} at most, {mean:.3} on average"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn forms_of_png_are_pillows() {
    check("png", 150);
}

#[test]
fn forms_of_gif_are_pillows() {
    check("gif", 60);
}

#[test]
fn forms_of_bmp_are_pillows() {
    check("bmp", 30);
}

#[test]
fn forms_of_tiff_are_pillows_turned_by_their_tag() {
    check("tiff", 30);
}

#[test]
fn forms_of_pnm_are_pillows() {
    check("pnm", 30);
}

#[test]
fn forms_of_ico_are_pillows() {
    check("ico", 10);
}

#[test]
fn forms_of_qoi_are_pillows() {
    check("qoi", 10);
}

#[test]
fn forms_of_tga_are_pillows() {
    check("tga", 10);
}

#[cfg(feature = "heic")]
#[test]
fn forms_of_heic_are_nearly_libheifs() {
    check_near("heic", 46);
}

#[cfg(feature = "avif")]
#[test]
fn forms_of_avif_are_nearly_libavifs() {
    check_near("avif", 50);
}

#[cfg(feature = "jxl")]
#[test]
fn forms_of_jpeg_xl_are_nearly_libjxls() {
    check_near("jxl", 50);
}
