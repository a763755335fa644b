//! Every variant of the accepted formats through the real server: what `docs/PREPROCESSING.md` says happens.

use std::sync::LazyLock;

use crate::harness::{Settings, TestServer, fixture, fixture_bytes, fixture_json, tiny};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));

/// JPEGs that are refused although Pillow decodes them.
const JPEG_REFUSED: &[(&str, &str)] = &[
    ("arithmetic.jpg", "image_unsupported"),
    ("arithmetic_progressive.jpg", "image_unsupported"),
    ("arithmetic_restart.jpg", "image_unsupported"),
    ("odd_33x7_420_arithmetic.jpg", "image_unsupported"),
];

fn refused_as_listed(name: &str) -> Option<&'static str> {
    let listed = JPEG_REFUSED.iter().find(|(listed, _)| *listed == name);
    listed.map(|(_, code)| *code)
}

#[test]
fn every_variant_is_accepted() {
    let expected = fixture_json("images/expected.json");
    for (name, about) in expected["images"].as_object().unwrap() {
        let bytes = fixture_bytes(&format!("images/{name}"));
        let answer = SERVER.post("/classify?exif=ignore", &bytes);
        if let Some(code) = refused_as_listed(name) {
            assert_eq!(answer.status, 422, "{name}");
            assert_eq!(answer.code(), code, "{name}");
            continue;
        }
        let image = &answer.ok()["image"];
        for key in ["format", "width", "height"] {
            assert_eq!(image[key], about[key], "{name}");
        }
    }
}

/// Sends every form of a format that is not in every build.
#[cfg(any(feature = "heic", feature = "avif", feature = "jxl"))]
fn check_optional(format: &str, at_least: usize) {
    let expected = fixture_json(&format!("{format}/expected.json"));
    let images = expected["images"].as_object().unwrap();
    assert!(images.len() >= at_least, "{}", images.len());
    for (name, about) in images {
        let answer = SERVER.post("/classify", &fixture_bytes(&format!("{format}/{name}")));
        let image = &answer.ok()["image"];
        assert_eq!(image["format"], format, "{name}");
        for key in ["width", "height"] {
            assert_eq!(image[key], about[key], "{name}");
        }
    }
}

#[cfg(feature = "heic")]
#[test]
fn every_form_of_heic_is_accepted() {
    check_optional("heic", 46);
}

/// The decoder cannot be stopped within a coded picture.
#[cfg(feature = "heic")]
#[test]
fn coded_picture_of_more_bytes_than_one_may_have_is_refused_with_the_limit() {
    let mut file = fixture_bytes("heic/plain.heic");
    let at = file.windows(4).position(|kind| kind == b"iloc").unwrap();
    // The length of the only item; none means all that follows.
    file[at + 26..at + 30].fill(0);
    let answer = SERVER.post("/classify", &file);
    assert_eq!(answer.status, 200, "nothing follows yet");
    file.resize(file.len() + (16 << 20), 0);
    let answer = SERVER.post("/classify", &file);
    assert_eq!(answer.status, 422);
    assert_eq!(answer.code(), "image_too_many_pixels");
    assert_eq!(
        answer.json()["detail"],
        "the HEIC has a coded picture of 16780516 bytes, allowed are 16777216: save it in smaller tiles, or as JPEG"
    );
}

#[cfg(feature = "avif")]
#[test]
fn every_form_of_avif_is_accepted() {
    check_optional("avif", 50);
}

#[cfg(feature = "jxl")]
#[test]
fn every_form_of_jpeg_xl_is_accepted() {
    check_optional("jxl", 50);
}

#[test]
fn refused_variants_get_their_code() {
    let expected = fixture_json("images/expected.json");
    for (name, about) in expected["refused"].as_object().unwrap() {
        let answer = SERVER.post("/classify", &fixture_bytes(&format!("images/{name}")));
        let due = about["code"].as_str().unwrap();
        let known = due != "unsupported_media_type";
        assert_eq!(answer.status, if known { 422 } else { 415 }, "{name}");
        let code = refused_as_listed(name).unwrap_or(due);
        assert_eq!(answer.code(), code, "{name}");
    }
}

#[test]
fn every_fixture_has_a_line_in_expected() {
    let expected = fixture_json("images/expected.json");
    for entry in std::fs::read_dir(fixture("images")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = ["images", "refused"]
            .iter()
            .any(|part| expected[part].get(&name).is_some());
        assert!(known || name == "expected.json", "{name}");
    }
}

#[test]
fn every_fixture_is_in_the_table_of_variants() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/PREPROCESSING.md");
    let text = std::fs::read_to_string(path).unwrap();
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let expected = fixture_json("images/expected.json");
    for part in ["images", "refused"] {
        for name in expected[part].as_object().unwrap().keys() {
            let (stem, _) = name.rsplit_once('.').unwrap();
            let found = named.iter().any(|word| match word.strip_suffix('*') {
                Some(start) => !start.is_empty() && stem.starts_with(start),
                None => *word == stem || word == name,
            });
            assert!(found, "{name} is not in docs/PREPROCESSING.md");
        }
    }
}
