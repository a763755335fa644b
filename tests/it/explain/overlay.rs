//! `explain_image`: the picture that lies over a photo, of any orientation and size.

use super::{ESPRESSO, SERVER};
use crate::harness::{Settings, TestServer, multipart, tiny};

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

/// A black photo of 100 megapixels.
fn giant() -> Vec<u8> {
    let mut giant = Vec::new();
    let mut encoder = png::Encoder::new(&mut giant, 10_000, 10_000);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(&vec![0; 1250 * 10_000]).unwrap();
    writer.finish().unwrap();
    giant
}

/// Images that the network of a server has seen.
fn inferences(server: &TestServer) -> u64 {
    let stats = server.get("/v2/models/resnet18-tiny/stats").ok();
    let stats = &stats["model_stats"][0];
    stats["inference_count"].as_u64().unwrap()
}

#[test]
fn photo_too_large_for_an_overlay_is_refused_by_its_header() {
    let server = TestServer::start(vec![tiny()], &Settings::default());
    let mut head = giant();
    // What is left of it says how large it is, and nothing that could be decoded.
    head.truncate(60);
    let answer = server.post("/classify?explain_image=png", &head);
    assert_eq!(
        (answer.status, answer.code().as_str()),
        (422, "overlay_too_large")
    );
    let answer = server.post("/classify", &head);
    assert_eq!(answer.code(), "image_truncated");
    assert_eq!(inferences(&server), 0);
    let metrics = String::from_utf8(server.get("/metrics").body).unwrap();
    let counted = "resnet_image_problems_total{code=\"overlay_too_large\"} 1\n";
    assert!(metrics.contains(counted), "{metrics}");
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

    let giant = giant();
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
    let words = "an overlay of 810000 pixels takes more memory than a request may have for its answer, allowed are 786432 pixels; explain=cam gives";
    assert!(detail.starts_with(words), "{detail}");
    assert_eq!(inferences(&server), 1, "the one that had its overlay");
}
