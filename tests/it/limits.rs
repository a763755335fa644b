//! What `--decode-memory`, `--decode-timeout`, `--decode-lenient` and `--fast-decode` do, as a client sees it.

use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use resnet::preprocess::{DamagedImages, DecodeSize, ImageOptions, MemoryBudget};

use crate::harness::{
    Answer, Process, Settings, TestServer, agent, eventually, fixture_bytes, resnet, tiny,
};

fn serving(images: ImageOptions) -> TestServer {
    let settings = Settings {
        images,
        ..Settings::default()
    };
    TestServer::start(vec![tiny()], &settings)
}

fn image(name: &str) -> Vec<u8> {
    fixture_bytes(&format!("images/{name}"))
}

/// Status, code and what is said about it.
fn refusal(answer: &Answer) -> (u16, String, String) {
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    (answer.status, answer.code(), detail)
}

/// A value of `/metrics` without labels.
fn gauge(server: &TestServer, name: &str) -> f64 {
    let text = String::from_utf8(server.get("/metrics").body).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap().trim().parse().unwrap()
}

#[test]
fn image_over_the_decode_memory_is_422_and_smaller_ones_are_served() {
    // 48 blocks of each of three components have 18432 bytes of coefficients; tables and rows are 64 KiB and more.
    let server = serving(ImageOptions {
        memory: MemoryBudget::new(80_000),
        ..ImageOptions::default()
    });
    let (status, code, detail) = refusal(&server.post("/classify", &image("progressive_444.jpg")));
    assert_eq!((status, code.as_str()), (422, "image_too_many_pixels"));
    assert!(
        detail.starts_with("the JPEG needs ")
            && detail.ends_with(" bytes to decode, allowed are 80000"),
        "{detail}"
    );
    server.post("/classify", &image("1x1.jpg")).ok();
    assert_eq!(gauge(&server, "resnet_decode_memory_bytes "), 0.0);
}

#[test]
fn decoding_past_the_deadline_is_422() {
    let server = serving(ImageOptions {
        timeout: Duration::ZERO,
        ..ImageOptions::default()
    });
    for name in [
        "baseline_420.jpg",
        "progressive.jpg",
        "rgb.png",
        "interlaced.png",
        "lossy.webp",
        "whole_frame.gif",
    ] {
        assert_eq!(
            refusal(&server.post("/classify", &image(name))),
            (
                422,
                "image_decode_timeout".to_owned(),
                "decoding the image took more than 0 s".to_owned()
            ),
            "{name}"
        );
    }
    assert_eq!(gauge(&server, "resnet_decode_memory_bytes "), 0.0);
}

#[test]
fn cut_images_are_classified_where_that_is_allowed() {
    let strict = serving(ImageOptions::default());
    let lenient = serving(ImageOptions {
        damaged: DamagedImages::Fill,
        ..ImageOptions::default()
    });
    for name in [
        "espresso_299.jpg",
        "progressive.jpg",
        "rgb.png",
        "interlaced.png",
        "whole_frame.gif",
        "interlaced.gif",
    ] {
        let whole = image(name);
        let cut = &whole[..whole.len() * 4 / 5];
        let (status, code, _) = refusal(&strict.post("/classify", cut));
        assert_eq!((status, code.as_str()), (422, "image_truncated"), "{name}");
        let answer = lenient.post("/classify", cut).ok();
        let undamaged = lenient.post("/classify", &whole).ok();
        assert_eq!(undamaged, strict.post("/classify", &whole).ok(), "{name}");
        assert_eq!(answer["image"], undamaged["image"], "{name}");
        assert_ne!(answer["predictions"], undamaged["predictions"], "{name}");
    }
    // Nothing of a picture is no picture.
    let header = &image("interlaced.gif")[..30];
    assert_eq!(lenient.post("/classify", header).status, 422);
}

#[test]
fn reduced_decoding_answers_with_the_size_of_the_image() {
    let photo = image("espresso_299.jpg");
    let full = serving(ImageOptions::default())
        .post("/classify", &photo)
        .ok();
    let reduced = serving(ImageOptions {
        size: DecodeSize::Reduced,
        ..ImageOptions::default()
    })
    .post("/classify", &photo)
    .ok();
    assert_eq!(reduced["image"]["width"], 299);
    assert_eq!(reduced["image"], full["image"]);
    // Other pixels, so it was reduced, and not very other ones.
    assert_ne!(reduced["predictions"], full["predictions"]);
    let top = |answer: &serde_json::Value| answer["predictions"][0]["class_index"].clone();
    assert_eq!(top(&reduced), top(&full));
}

#[test]
fn decoding_stops_when_the_client_leaves_and_gives_its_memory_back() {
    let server = serving(ImageOptions {
        timeout: Duration::from_secs(600),
        ..ImageOptions::default()
    });
    let photo = fixture_bytes("hostile/whole_7071x7071.png");
    let canceled = server
        .metrics
        .requests_canceled
        .with_label_values(&["decode"]);
    let head = format!(
        "POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        photo.len()
    );
    // A decoder can be faster than we leave, so more than once.
    eventually("a decoder is stopped", || {
        let mut client = TcpStream::connect(server.address).unwrap();
        client.write_all(head.as_bytes()).unwrap();
        client.write_all(&photo).unwrap();
        eventually("it is decoding", || {
            gauge(&server, "resnet_decode_memory_bytes ") > 0.0
        });
        drop(client);
        eventually("its memory is free", || {
            gauge(&server, "resnet_decode_memory_bytes ") == 0.0
        });
        canceled.get() > 0
    });
    server.post("/classify", &image("1x1.jpg")).ok();
}

#[test]
fn switch_that_says_neither_yes_nor_no_is_named_with_what_is_allowed() {
    for variable in ["RESNET_FAST_DECODE", "RESNET_DECODE_LENIENT"] {
        let output = resnet()
            .args(["serve", "--port", "0"])
            .env(variable, "maybe")
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(
            said.contains(variable)
                && said.contains("`maybe` is no switch, allowed are true, yes, on, 1"),
            "{said}"
        );
    }
}

#[test]
fn image_for_which_the_system_has_no_memory_is_503_and_the_server_lives() {
    // A progressive JPEG of 70 megapixels by its header: 423 MB of coefficients, and 850 MB for the whole process.
    let mut large = image("progressive_444.jpg");
    let sof = large.windows(2).position(|m| m == [0xff, 0xc2]).unwrap();
    let side = 8400u16.to_be_bytes();
    large[sof + 5..sof + 9].copy_from_slice(&[side, side].concat());
    let resnet = resnet();
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -v 850000 && exec \"$0\" \"$@\""]);
    limited.arg(resnet.get_program());
    for (name, value) in resnet.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    let server = Process::start_as(limited, &[]);
    let url = format!("http://{}/classify", server.address);
    let post = |body: &[u8]| Answer::of(agent().post(&url).send(body));
    for _ in 0..3 {
        let (status, code, detail) = refusal(&post(&large));
        assert_eq!((status, code.as_str()), (503, "out_of_memory"), "{detail}");
    }
    post(&fixture_bytes("photos/espresso.png")).ok();
}
