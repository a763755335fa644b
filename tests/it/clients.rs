//! What clients' programs make of an image on the way: forms as they write them, JSON as their systems store it, and
//! accidents, each of which gets an answer that helps.

use std::sync::LazyLock;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::harness::{Answer, Settings, TestServer, fixture_bytes, multipart, tiny};

static SERVER: LazyLock<TestServer> =
    LazyLock::new(|| TestServer::start(vec![tiny()], &Settings::default()));
static ESPRESSO: LazyLock<Vec<u8>> = LazyLock::new(|| fixture_bytes("photos/espresso.png"));

fn base64() -> String {
    base64::engine::general_purpose::STANDARD.encode(&*ESPRESSO)
}

fn detail(answer: &Answer) -> String {
    answer.json()["detail"].as_str().unwrap().to_owned()
}

/// The espresso in a body: `\n` in head and tail are line ends.
fn around(head: &str, tail: &str) -> Vec<u8> {
    let lines = |text: &str| text.replace('\n', "\r\n").into_bytes();
    [lines(head), ESPRESSO.clone(), lines(tail)].concat()
}

#[test]
fn forms_are_read_as_each_client_writes_them() {
    let want = SERVER.post("/classify", &ESPRESSO).ok();
    let forms = [
        (
            "curl -F file=@espresso.png",
            "multipart/form-data; boundary=------------------------d74496d66958873e",
            "--------------------------d74496d66958873e\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"espresso.png\"\nContent-Type: image/png\n\n",
            "\n--------------------------d74496d66958873e--\n",
        ),
        (
            "a browser's form with a second input that was left empty",
            "multipart/form-data; boundary=----WebKitFormBoundary7MA4YWxkTrZu0gW",
            "------WebKitFormBoundary7MA4YWxkTrZu0gW\nContent-Disposition: form-data; name=\"file\"; \
             filename=\"\"\nContent-Type: application/octet-stream\n\n\n\
             ------WebKitFormBoundary7MA4YWxkTrZu0gW\nContent-Disposition: form-data; name=\"image\"; \
             filename=\"my \\\"best\\\" espresso.png\"\nContent-Type: image/png\n\n",
            "\n------WebKitFormBoundary7MA4YWxkTrZu0gW--\n",
        ),
        (
            "Python requests, files={'file': bytes}",
            "multipart/form-data; boundary=c0c46a5929c2ce4c935c9cff85bf11d4",
            "--c0c46a5929c2ce4c935c9cff85bf11d4\nContent-Disposition: form-data; name=\"file\"; filename=\"file\"\n\n",
            "\n--c0c46a5929c2ce4c935c9cff85bf11d4--\n",
        ),
        (
            "Python email.mime, with folded lines",
            "multipart/form-data; boundary=\"===============1656457491496==\"",
            "--===============1656457491496==\nContent-Type: image/png\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: binary\nContent-Disposition: form-data;\n name=\"file\";\n \
             filename=\"a-name-so-long-that-the-line-is-folded.png\"\n\n",
            "\n--===============1656457491496==--\n",
        ),
        (
            "the same boundary without quotes",
            "multipart/form-data; boundary================1656457491496==",
            "--===============1656457491496==\nContent-Disposition: form-data; name=\"file\"; filename=\"p.jpg\"\n\n",
            "\n--===============1656457491496==--\n",
        ),
        (
            ".NET MultipartFormDataContent",
            "multipart/form-data; boundary=\"0c9f2a5e-2d0a-4f8e-9d59-3d4e3b7f1f0a\"",
            "--0c9f2a5e-2d0a-4f8e-9d59-3d4e3b7f1f0a\nContent-Type: image/png\n\
             Content-Disposition: form-data; name=file; filename=espresso.png; filename*=utf-8''espresso.png\n\n",
            "\n--0c9f2a5e-2d0a-4f8e-9d59-3d4e3b7f1f0a--\n",
        ),
        (
            "Java, Apache HttpClient in its strict mode",
            "multipart/form-data; charset=ISO-8859-1; boundary=vQ7pFiE-1oY_2",
            "--vQ7pFiE-1oY_2\nContent-Disposition: form-data; name=\"file\"; filename=\"espresso.png\"\n\
             Content-Type: application/octet-stream\nContent-Transfer-Encoding: binary\n\n",
            "\n--vQ7pFiE-1oY_2--\n",
        ),
        (
            "the file's name first, and blanks around ;",
            "multipart/form-data ; Boundary = B",
            "--B\ncontent-disposition: form-data ; filename=\"my name.jpg\" ; NAME=\"file\"\n\n",
            "\n--B--\n",
        ),
        (
            "a caption in a field of an image's name",
            "multipart/form-data; boundary=B",
            "--B\nContent-Disposition: form-data; name=\"data\"\n\na cup of coffee\n\
             --B\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\n\n",
            "\n--B--\n",
        ),
    ];
    for (client, content_type, head, tail) in forms {
        let answer = SERVER.post_as("/classify", content_type, &around(head, tail));
        assert_eq!(answer.ok(), want, "{client}");
    }
    let hidden = around(
        "--B\nContent-Disposition: form-data; filename=\"x; name=file; y.jpg\"; name=\"caption\"\n\n",
        "\n--B--\n",
    );
    let answer = SERVER.post_as("/classify", "multipart/form-data; boundary=B", &hidden);
    assert_eq!(answer.code(), "bad_multipart");
    assert!(detail(&answer).contains("there are: \"caption\""));
    let without_at =
        b"--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nphoto.jpg\r\n--B--\r\n";
    let answer = SERVER.post_as("/classify", "multipart/form-data; boundary=B", without_at);
    assert_eq!(answer.status, 415);
    assert!(detail(&answer).contains("-F file=@photo.jpg"), "{answer:?}");
}

#[test]
fn json_may_have_a_mark_or_be_utf_16() {
    let text = json!({"image": base64()}).to_string();
    let want = SERVER.post("/classify", &ESPRESSO).ok();
    let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    for body in [
        [b"\xEF\xBB\xBF", text.as_bytes()].concat(),
        [b"\xFF\xFE", &wide[..]].concat(),
    ] {
        let answer = SERVER.post_as("/classify", "application/json; charset=utf-8", &body);
        assert_eq!(answer.ok(), want);
    }
}

#[test]
fn base64_that_lost_its_plus_is_no_other_image() {
    let text = base64();
    assert!(text.contains('+'));
    let bad = |text: &str| SERVER.post_json("/classify", &json!({"image": text}));
    let answer = bad(&text.replace('+', " "));
    assert_eq!((answer.status, answer.code().as_str()), (400, "bad_base64"));
    assert!(
        detail(&answer).contains("a '+' was probably lost"),
        "{answer:?}"
    );
    for (other, hint) in [
        (
            text.replace('+', "-").replace('/', "_"),
            "alphabet for URLs",
        ),
        (text.replace('+', "%2B"), "percent-encoded"),
        (format!("b'{text}'"), ".decode()"),
        (
            "https://example.com/a.jpg".to_owned(),
            "URLs are not fetched",
        ),
        (format!("{}  {}", &text[..8], &text[8..]), "a blank"),
    ] {
        let answer = bad(&other);
        assert_eq!(answer.code(), "bad_base64");
        assert!(detail(&answer).contains(hint), "{hint}: {answer:?}");
    }
    let padded = format!("\r\n {text} \n");
    assert!(text.len().is_multiple_of(4));
    assert_eq!(bad(&padded).ok(), bad(&text).ok());
    let list = SERVER.post_json(
        "/classify",
        &json!({"images": [text, text.replace('+', " ")]}),
    );
    let results: Value = list.ok()["results"].clone();
    assert!(results[0]["predictions"].is_array(), "{results}");
    assert_eq!(
        results[1]["type"], "urn:resnet:problem:bad_base64",
        "{results}"
    );
}

#[test]
fn accidents_get_a_sentence_that_helps() {
    let stripped: Vec<u8> = ESPRESSO
        .iter()
        .copied()
        .filter(|b| !b"\r\n\0".contains(b))
        .collect();
    let as_text = String::from_utf8_lossy(&ESPRESSO).into_owned().into_bytes();
    let latin: Vec<u8> = ESPRESSO
        .iter()
        .map(|b| char::from(*b))
        .collect::<String>()
        .into_bytes();
    let text = base64();
    for (body, hint) in [
        (stripped, "--data-binary"),
        (as_text, "read as text"),
        (latin, "read as text"),
        (text.clone().into_bytes(), "base64 text"),
        (
            format!("data:image/png;base64,{text}").into_bytes(),
            "a data URI",
        ),
        (
            b"https://example.com/photo.jpg".to_vec(),
            "URLs are not fetched",
        ),
        (b"photo.jpg".to_vec(), "-F file=@photo.jpg"),
        (format!("image={text}").into_bytes(), "a form in the body"),
        (
            json!({"image": text}).to_string().into_bytes(),
            "content-type application/json",
        ),
        (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avifmiaf".to_vec(), "AVIF"),
        (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom".to_vec(), "CR3"),
        (b"\0\0\0\x0CjP  \r\n\x87\n\0\0".to_vec(), "JPEG 2000"),
        (b"8BPS\0\x01\0\0".to_vec(), "PSD"),
        (b"II*\0\x10\0\0\0CR\x02\0".to_vec(), "CR2"),
    ] {
        let answer = SERVER.post_as("/classify", "application/octet-stream", &body);
        assert_eq!(answer.status, 415, "{hint}");
        assert_eq!(answer.code(), "unsupported_media_type");
        assert!(
            detail(&answer).contains(hint),
            "{hint}: {}",
            detail(&answer)
        );
    }
}

#[test]
fn images_of_any_format_that_a_program_changed_get_the_same_sentences() {
    for name in [
        "exif_orientation_6.jpg",
        "rgb.png",
        "lossy.webp",
        "local_palette.gif",
    ] {
        let bytes = fixture_bytes(&format!("images/{name}"));
        let kept = |b: &u8| !b"\r\n\0".contains(b);
        let stripped: Vec<u8> = bytes.iter().copied().filter(kept).collect();
        let replaced = String::from_utf8_lossy(&bytes).into_owned();
        let latin: String = bytes.iter().map(|b| char::from(*b)).collect();
        for (body, hint) in [
            (stripped, "--data-binary"),
            (replaced.into_bytes(), "read as text"),
            (latin.into_bytes(), "read as text"),
        ] {
            let answer = SERVER.post("/classify", &body);
            assert_eq!(
                answer.code(),
                "unsupported_media_type",
                "{name}: {answer:?}"
            );
            assert!(detail(&answer).contains(hint), "{name}: {answer:?}");
        }
    }
}

#[test]
fn json_that_holds_something_else_is_told_what_it_may_hold() {
    for (body, words) in [
        (
            json!({"imge": base64()}),
            "there is no field \"imge\", allowed are \"image\"",
        ),
        (
            json!({"image": base64(), "top_k": 3}),
            "there is no field \"top_k\"",
        ),
        (
            json!({"instances": [{"b64": base64()}]}),
            "there is no field \"instances\"",
        ),
        (json!({}), "it has no image: allowed are \"image\""),
    ] {
        let answer = SERVER.post_json("/classify", &body);
        assert_eq!(answer.code(), "bad_json");
        assert!(detail(&answer).contains(words), "{words}: {answer:?}");
    }
}

#[test]
fn forms_with_too_many_images_are_told_a_number_that_is_true() {
    for (count, words) in [
        (33, "the request has 33 images, allowed are 32"),
        (64, "the request has 64 images, allowed are 32"),
        (
            65,
            "the form has more than 64 fields for images, allowed are 32 images",
        ),
        (
            200,
            "the form has more than 64 fields for images, allowed are 32 images",
        ),
    ] {
        let parts = vec![("file", &b"x"[..]); count];
        let (content_type, body) = multipart(&parts);
        let answer = SERVER.post_as("/classify", &content_type, &body);
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (413, "too_many_images")
        );
        assert_eq!(detail(&answer), words);
    }
}
