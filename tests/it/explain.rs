//! `explain` and `embedding` of `/classify`: where a network saw a class and what it saw, as ONNX Runtime and numpy have
//! it of the same weights, and what is wrong with a wish.

use std::sync::LazyLock;

use resnet::engine::EngineOptions;
use resnet::preprocess::PreprocessSpec;
use resnet::registry::{ModelRef, load};
use serde_json::{Value, json};

use crate::fake::{FakeModel, plain_png};
use crate::harness::{
    Settings, TestServer, fixture_bytes, fixture_json, multipart, tiny, tiny_reference,
};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));
static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));

fn numbers(value: &Value) -> Vec<f64> {
    let of = |v: &Value| v.as_f64().unwrap_or_else(|| panic!("{v} is no number"));
    value.as_array().unwrap().iter().map(of).collect()
}

fn rows(map: &Value) -> Vec<Vec<f64>> {
    map.as_array().unwrap().iter().map(numbers).collect()
}

/// That numbers differ by no more than this share of the largest.
fn assert_near(got: &[f64], want: &[f64], largest: f64, share: f64, what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let difference = (got - want).abs();
        assert!(difference <= share * largest, "{what}: {got} {want}");
    }
}

fn assert_is_reference(server: &TestServer, model: &str) {
    let expected = fixture_json("explanations.json");
    let step = usize::try_from(expected["step"].as_u64().unwrap()).unwrap();
    let expected = &expected["models"][model];
    let pictures = expected["pictures"].as_object().unwrap();
    assert_eq!(pictures.len(), 10);
    let spec = server.get("/models").ok()["models"][0]["preprocess"].clone();
    let spec: PreprocessSpec = serde_json::from_value(spec).unwrap();
    for (name, want) in pictures {
        let picture = fixture_bytes(name);
        for (i, explanation) in want["explanations"].as_array().unwrap().iter().enumerate() {
            let class = &explanation["class_index"];
            // The first is the winner's.
            let query = match i {
                0 => "embedding=true".to_owned(),
                _ => format!("explain_class={class}&embedding=normalized"),
            };
            let path = format!("/classify?explain=cam&exif=ignore&top_k=1&{query}");
            let answer = server.post(&path, &picture).ok();
            let what = format!("{model}, {name}, class {class}");
            let got = &answer["explanation"];
            assert_eq!(&got["class_index"], class, "{what}");
            assert_eq!(got["method"], "cam");
            if i == 0 {
                assert_eq!(answer["predictions"][0]["class_index"], *class, "{what}");
                assert_eq!(got["label"], answer["predictions"][0]["label"]);
            }
            let (map, wanted) = (rows(&got["map"]), rows(&explanation["map"]));
            assert_eq!(map.len(), wanted.len(), "{what}");
            let largest = wanted.concat().iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            for (got, want) in map.iter().zip(&wanted) {
                assert_near(got, want, largest, 1e-3, &what);
            }
            let side = |name: &str| u32::try_from(answer["image"][name].as_u64().unwrap()).unwrap();
            let seen = spec.seen(side("width"), side("height"));
            assert_eq!(got["rectangle"], json!(seen), "{what}");

            let embedding = numbers(&answer["embedding"]);
            assert_eq!(json!(embedding.len()), expected["channels"]);
            let length = match i {
                0 => 1.0,
                _ => want["length"].as_f64().unwrap(),
            };
            let kept: Vec<f64> = embedding.iter().step_by(step).map(|x| x * length).collect();
            let largest = want["largest"].as_f64().unwrap();
            assert_near(&kept, &numbers(&want["embedding"]), largest, 1e-4, &what);
            let squares: f64 = embedding.iter().map(|x| x * x).sum();
            let due = want["length"].as_f64().unwrap() / length;
            assert!((squares.sqrt() - due).abs() <= 1e-4 * due, "{what}");
        }
    }
}

#[test]
fn small_models_maps_and_embeddings_are_those_of_onnx_runtime() {
    assert_is_reference(&SERVER, "resnet18-tiny");
}

#[test]
fn presets_maps_and_embeddings_are_those_of_onnx_runtime() {
    let exact = EngineOptions::default();
    let preset = load(&ModelRef::preset().unwrap(), &exact).unwrap();
    let server = TestServer::start(vec![preset], &Settings::default());
    assert_is_reference(&server, "efficientnet-lite0");
}

#[test]
fn only_what_is_asked_for_is_there() {
    let plain = SERVER.post("/classify", &ESPRESSO).ok();
    let members = |query: &str| {
        let mut answer = SERVER.post(&format!("/classify?{query}"), &ESPRESSO).ok();
        let members = answer.as_object_mut().unwrap();
        let further = ["explanation", "embedding"].map(|name| members.remove(name).is_some());
        assert_eq!(answer, plain, "{query}");
        further
    };
    assert_eq!(members("embedding=false"), [false, false]);
    assert_eq!(members("embedding=true"), [false, true]);
    assert_eq!(members("explain=cam"), [true, false]);
    assert_eq!(members("explain=cam&embedding=normalized"), [true, true]);
}

#[test]
fn several_images_have_their_own_also_in_the_batch_of_others() {
    let photos = ["espresso", "orange", "plate", "trolleybus"];
    let photos = photos.map(|name| fixture_bytes(&format!("photos/{name}.png")));
    let options = EngineOptions {
        max_batch: 8,
        ..EngineOptions::default()
    };
    let settings = Settings {
        workers: 1,
        ..Settings::default()
    };
    let server = TestServer::start(vec![load(&tiny_reference(), &options).unwrap()], &settings);
    let batches = |size: &str| {
        let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
        let line = format!("resnet_batch_size_{size} ");
        let count = metrics.lines().find_map(|l| l.strip_prefix(&line));
        count.unwrap().parse::<f64>().unwrap()
    };
    let query = "explain=cam&embedding=true";
    let alone: Vec<Value> = photos
        .iter()
        .map(|photo| server.post(&format!("/classify?{query}"), photo).ok())
        .collect();
    let mut parts: Vec<(&str, &[u8])> = photos.iter().map(|p| ("file", &p[..])).collect();
    parts.insert(1, ("file", b"no image"));
    let (form, body) = multipart(&parts);
    // Others that ask for nothing share the batches.
    std::thread::scope(|scope| {
        let others = || (0..20).for_each(|_| drop(server.post("/classify", &photos[1]).ok()));
        scope.spawn(others);
        scope.spawn(others);
        for _ in 0..10 {
            let path = format!("/classify?{query}");
            let mut together = server.post_as(&path, &form, &body).ok();
            let results = together["results"].as_array_mut().unwrap();
            assert_eq!(results.remove(1)["code"], "unsupported_media_type");
            for (got, want) in results.iter().zip(&alone) {
                assert_eq!(got["explanation"], want["explanation"]);
                assert_eq!(got["embedding"], want["embedding"]);
            }
        }
    });
    let several = batches("count{model=\"resnet18-tiny\"}")
        - batches("bucket{model=\"resnet18-tiny\",le=\"1\"}");
    assert!(several > 0.0, "every batch was of one image");
}

#[test]
fn answer_of_many_numbers_is_that_of_few() {
    let path = "/classify?top_k=200&embedding=normalized&explain=cam";
    let mut alone = SERVER.post(path, &ESPRESSO).ok();
    alone.as_object_mut().unwrap().remove("model");
    let mut parts = vec![("file", &ESPRESSO[..]); 20];
    parts.push(("file", b"no image"));
    let (form, body) = multipart(&parts);
    let together = SERVER.post_as(path, &form, &body).ok();
    let (last, others) = together["results"]
        .as_array()
        .unwrap()
        .split_last()
        .unwrap();
    assert_eq!(last["code"], "unsupported_media_type");
    assert!(others.len() == 20 && others.iter().all(|answer| *answer == alone));
    let tensors = SERVER.post_as("/predictions/resnet18-tiny?top_k=200", &form, &body);
    assert_eq!(tensors.code(), "unsupported_media_type");
}

#[test]
fn overlay_larger_than_the_memory_for_answers_is_refused() {
    let settings = Settings {
        body_memory_bytes: 1 << 20,
        ..Settings::default()
    };
    let server = TestServer::start(vec![tiny()], &settings);
    let picture = |side: usize| Picture::with_espresso(side, side, (0, 0)).png(1);
    let answer = server.post("/classify?explain_image=png", &picture(800));
    assert_eq!(answer.status, 200);
    let answer = server.post("/classify?explain_image=png", &picture(900));
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (413, "answer_too_large")
    );
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("810000 bytes, allowed are 786432"),
        "{detail}"
    );
}

#[test]
fn wrong_wishes_are_refused_with_what_is_allowed() {
    for (query, words) in [
        ("explain=gradcam", "explain is \"gradcam\", allowed are cam"),
        ("explain=", "explain is \"\", allowed are cam"),
        (
            "explain=cam&explain_class=200",
            "explain_class is \"200\", allowed are whole numbers from 0 to 199, beside explain=cam",
        ),
        (
            "explain=cam&explain_class=-1",
            "explain_class is \"-1\", allowed",
        ),
        (
            "explain=cam&explain_class=99999999999999999999999",
            "allowed",
        ),
        (
            "explain=cam&explain_class=espresso",
            "\"espresso\", allowed",
        ),
        ("explain_class=3", "beside explain=cam or explain_image=png"),
        (
            "explain_image=jpeg",
            "explain_image is \"jpeg\", allowed are png",
        ),
        (
            "explain_image=png&embedding=true",
            "embedding is \"true\", allowed are false beside explain_image",
        ),
        (
            "embedding=yes",
            "embedding is \"yes\", allowed are true, normalized and false",
        ),
        ("explain=cam&explain=cam", "explain is given twice"),
        (
            "explane=cam",
            "no query parameter \"explane\", there are model, top_k, exif, timeout_ms, explain, explain_class, explain_image, embedding, timing",
        ),
    ] {
        let answer = SERVER.post(&format!("/classify?{query}"), &ESPRESSO);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "bad_query"),
            "{query}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{query}: {detail}");
    }
    // Whose answer has no room for it.
    let path = "/predictions/resnet18-tiny?explain=cam";
    let answer = SERVER.post(path, &ESPRESSO);
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_query"));
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    let known = "there are model, top_k, exif, timeout_ms";
    assert!(detail.ends_with(known), "{detail}");
}

#[test]
fn model_of_another_ending_says_so() {
    let (fake, _gate) = FakeModel::loaded("fake");
    let server = TestServer::start(vec![fake], &Settings::default());
    for query in [
        "explain=cam",
        "explain_image=png",
        "embedding=true",
        "embedding=normalized",
    ] {
        let answer = server.post(&format!("/classify?{query}"), &plain_png(1));
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (422, "no_features")
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("model \"fake\" has no"), "{detail}");
    }
    let answer = server.post("/classify?embedding=false", &plain_png(1));
    assert_eq!(answer.status, 200);
    // Who asks before tells it by the list and by the model.
    let features = |server: &TestServer, name: &str| {
        let listed = server.get("/models").ok()["models"][0]["features"].clone();
        let own = server.get(&format!("/models/{name}")).ok()["features"].clone();
        assert_eq!(listed, own);
        own
    };
    assert_eq!(features(&server, "fake"), Value::Null);
    let told = features(&SERVER, "resnet18-tiny");
    let answer = SERVER
        .post("/classify?explain=cam&embedding=true", &ESPRESSO)
        .ok();
    let map = rows(&answer["explanation"]["map"]);
    let embedding = numbers(&answer["embedding"]);
    let given = json!({"channels": embedding.len(), "height": map.len(), "width": map[0].len()});
    assert_eq!(told, given);
}

/// A decoded overlay: width, height, and how opaque each pixel is.
fn overlay(png: &[u8]) -> (usize, usize, Vec<u8>) {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(png));
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    let alphas = pixels.chunks_exact(4).map(|pixel| pixel[3]).collect();
    (info.width as usize, info.height as usize, alphas)
}

/// An RGB picture.
#[derive(Clone)]
struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    /// A grey one with a photo of an espresso, 150 pixels a side, in it.
    fn with_espresso(width: usize, height: usize, (left, top): (usize, usize)) -> Picture {
        let mut decoder = png::Decoder::new(std::io::Cursor::new(&ESPRESSO[..]));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut photo = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut photo).unwrap();
        assert_eq!((info.color_type, info.width), (png::ColorType::Rgb, 299));
        let mut pixels = vec![[124, 116, 104]; width * height];
        for (y, x) in (0..149).flat_map(|y| (0..149).map(move |x| (y, x))) {
            let from = 3 * (2 * y * 299 + 2 * x);
            let pixel = [photo[from], photo[from + 1], photo[from + 2]];
            pixels[(top + y) * width + left + x] = pixel;
        }
        Picture {
            width,
            height,
            pixels,
        }
    }

    /// As it is stored so that this EXIF orientation turns it upright.
    fn stored_as(&self, orientation: u8) -> Picture {
        let swaps = orientation >= 5;
        let (width, height) = match swaps {
            true => (self.height, self.width),
            false => (self.width, self.height),
        };
        // Where the stored pixel of row `r` and column `c` stands upright, by the words of the EXIF standard: row 0 is the
        // visual top, bottom, left or right, and so is column 0.
        let pixel = |i: usize| {
            let (r, c) = (i / width, i % width);
            let (x, y) = match orientation {
                1 => (c, r),
                2 => (self.width - 1 - c, r),
                3 => (self.width - 1 - c, self.height - 1 - r),
                4 => (c, self.height - 1 - r),
                5 => (r, c),
                6 => (self.width - 1 - r, c),
                7 => (self.width - 1 - r, self.height - 1 - c),
                _ => (r, self.height - 1 - c),
            };
            self.pixels[y * self.width + x]
        };
        Picture {
            width,
            height,
            pixels: (0..width * height).map(pixel).collect(),
        }
    }

    fn png(&self, orientation: u8) -> Vec<u8> {
        let mut info = png::Info::with_size(self.width as u32, self.height as u32);
        info.color_type = png::ColorType::Rgb;
        info.bit_depth = png::BitDepth::Eight;
        let mut exif = b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
        exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
        info.exif_metadata = Some(exif.into());
        let mut bytes = Vec::new();
        let encoder = png::Encoder::with_info(&mut bytes, info).unwrap();
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(&self.pixels.concat()).unwrap();
        writer.finish().unwrap();
        bytes
    }
}

/// Where what an overlay shows is on the whole.
fn middle((width, _, alphas): &(usize, usize, Vec<u8>)) -> (f64, f64) {
    let (mut x, mut y, mut sum) = (0.0, 0.0, 0.0);
    for (i, alpha) in alphas.iter().enumerate() {
        let weight = f64::from(*alpha).powi(2);
        x += weight * ((i % width) as f64 + 0.5);
        y += weight * ((i / width) as f64 + 0.5);
        sum += weight;
    }
    assert!(sum > 0.0, "nothing is shown");
    (x / sum, y / sum)
}

#[test]
fn overlay_shows_the_cup_where_it_is_in_photos_of_any_orientation_and_proportion() {
    for (width, height) in [(300, 300), (1500, 300), (300, 2000), (640, 480)] {
        let side = width.min(height);
        let corner = [(width - side) / 2, (height - side) / 2];
        for (right, below) in [(false, false), (true, false), (false, true), (true, true)] {
            let half = |first: usize, behind: bool| first + if behind { side - 150 } else { 0 };
            let (left, top) = (half(corner[0], right), half(corner[1], below));
            let picture = Picture::with_espresso(width, height, (left, top));
            let what = format!("{width} × {height}, {left}, {top}");
            let mut upright = None;
            for orientation in 1..=8 {
                let photo = picture.stored_as(orientation).png(orientation);
                let path = "/classify?explain_image=png&explain_class=193";
                let answer = SERVER.post(path, &photo);
                assert_eq!(answer.status, 200, "{what}");
                assert_eq!(answer.header("content-type"), Some("image/png"));
                assert!(answer.header("server-timing").is_some());
                let shown = overlay(&answer.body);
                assert_eq!((shown.0, shown.1), (width, height), "{what}");
                let (x, y) = middle(&shown);
                let center = [corner[0] + side / 2, corner[1] + side / 2].map(|c| c as f64);
                assert_eq!(
                    (x > center[0], y > center[1]),
                    (right, below),
                    "{what}: {x} {y}"
                );
                // A turned photo is resized to the same pixels as the upright one.
                match &upright {
                    None => upright = Some(shown),
                    Some(upright) => assert!(shown == *upright, "{what}, {orientation}"),
                }
                // As it is stored it lies where it is stored.
                if orientation == 6 {
                    let answer = SERVER.post(&format!("{path}&exif=ignore"), &photo);
                    let stored = overlay(&answer.body);
                    assert_eq!((stored.0, stored.1), (height, width), "{what}");
                }
            }
        }
    }
}

#[test]
fn overlay_is_of_one_image_and_of_no_giant() {
    let (form, body) = multipart(&[("file", &ESPRESSO), ("file", &ESPRESSO)]);
    let answer = SERVER.post_as("/classify?explain_image=png", &form, &body);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (400, "overlay_of_several")
    );
    let (form, body) = multipart(&[("file", &ESPRESSO)]);
    let answer = SERVER.post_as("/classify?explain_image=png", &form, &body);
    let plain = SERVER.post("/classify?explain_image=png", &ESPRESSO);
    assert!(answer.status == 200 && answer.body == plain.body);

    let mut giant = Vec::new();
    let mut encoder = png::Encoder::new(&mut giant, 10_000, 10_000);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 1250 * 10_000]).unwrap();
    writer.finish().unwrap();
    let answer = SERVER.post("/classify?explain_image=png", &giant);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "overlay_too_large")
    );
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("100000000 pixels"), "{detail}");
    // The map itself has no such bound.
    let answer = SERVER.post("/classify?explain=cam", &giant).ok();
    assert_eq!(answer["explanation"]["rectangle"]["width"], 10_000.0);

    let answer = SERVER.post("/classify?explain_image=png", b"no image");
    assert_eq!(answer.code(), "unsupported_media_type");
}
