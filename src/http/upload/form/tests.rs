//! Forms as browsers, libraries and attackers write them.

use proptest::prelude::*;

use super::*;

const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\r\n--B\r\n";

fn form(content_type: &str, body: &[u8]) -> Result<Vec<Bytes>, String> {
    let body = Bytes::copy_from_slice(body);
    let upload = parse(&Parameterized::parse(content_type.as_bytes()), &body, 32);
    let images = upload.map_err(|e| e.to_string())?.images;
    Ok(images
        .into_iter()
        .map(|image| image.expect("bytes"))
        .collect())
}

fn one(head: &str) -> Vec<u8> {
    let head = head.replace('\n', "\r\n");
    [
        b"--XyZ\r\n",
        head.as_bytes(),
        b"\r\n\r\n",
        PNG,
        b"\r\n--XyZ--\r\n",
    ]
    .concat()
}

const TYPE: &str = "multipart/form-data; boundary=XyZ";

#[test]
fn heads_are_read_as_the_rfcs_say() {
    for head in [
        "Content-Disposition: form-data; name=\"file\"; filename=\"a.png\"",
        "content-disposition:form-data;NAME=file;FILENAME=a.png",
        "Content-Disposition: form-data; filename=\"my name.jpg\"; name=\"file\"",
        "Content-Type: image/png\nContent-Disposition: form-data; name=file\nX: y",
        "Content-Disposition: form-data;\n name=\"file\";\n\tfilename=\"a.png\"\nContent-Type: image/png",
        "Content-Disposition : form-data ; name = \"file\"",
        "Content-Disposition: form-data; name=\"image\"; filename*=UTF-8''%C3%A4.png",
    ] {
        assert_eq!(
            form(TYPE, &one(head)),
            Ok(vec![Bytes::from_static(PNG)]),
            "{head}"
        );
    }
    for head in [
        "Content-Disposition: form-data; filename=\"x; name=file; y.jpg\"; name=\"caption\"",
        "Content-Disposition: form-data; filename=\"a\\\"; name=\\\"file\"",
        "Content-Type: image/png; name=\"file\"",
        "X: Content-Disposition: form-data; name=\"file\"",
        "Content-Disposition: form-data\nname=file",
    ] {
        let error = form(TYPE, &one(head)).expect_err(head);
        assert!(error.contains("no field named file"), "{head}: {error}");
    }
}

#[test]
fn body_may_have_what_the_rfcs_allow_around_its_parts() {
    let part = b"--XyZ\r\nContent-Disposition: form-data; name=file\r\n\r\n";
    let bodies: [Vec<u8>; 5] = [
        [part, PNG, b"\r\n--XyZ--"].concat(),
        [
            b"This is a message\r\nof parts.\r\n",
            &part[..],
            PNG,
            b"\r\n--XyZ--\r\nepilogue",
        ]
        .concat(),
        [b"\r\n", &part[..], PNG, b"\r\n--XyZ-- \t\r\n"].concat(),
        [b"--XyZ \t\r\n", &part[7..], PNG, b"\r\n--XyZ--\r\n"].concat(),
        [
            b"--XyZ\nContent-Disposition: form-data; name=file\n\n",
            PNG,
            b"\n--XyZ--\n",
        ]
        .concat(),
    ];
    for body in bodies {
        let text = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(
            form(TYPE, &body),
            Ok(vec![Bytes::from_static(PNG)]),
            "{text:?}"
        );
    }
    for boundary in ["===1656457491496===", "a/b:c", "(x)", "\"a b\""] {
        let bare = boundary.trim_matches('"');
        let body =
            String::from_utf8_lossy(&one("Content-Disposition: form-data; name=file")).into_owned();
        let body = body.replace("XyZ", bare);
        let images = form(
            &format!("multipart/form-data; boundary={boundary}"),
            body.as_bytes(),
        );
        assert_eq!(images.map(|i| i.len()), Ok(1), "{boundary}");
    }
}

#[test]
fn nothing_chosen_and_captions_are_no_images() {
    let part = |head: &str, bytes: &[u8]| {
        let head = format!("--XyZ\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        [head.as_bytes(), bytes, b"\r\n"].concat()
    };
    let photo = part("name=file; filename=a.png", b"\x89PNG\r\n\x1a\n1");
    let bare = part("name=file", b"\x89PNG\r\n\x1a\n2");
    let nothing = part("name=file; filename=\"\"", b"");
    let caption = part("name=image", b"a cat");
    let other = part("name=comment", b"a cat");
    let empty_file = part("name=file; filename=a.png", b"");
    let count = |parts: &[&Vec<u8>]| {
        let mut body: Vec<u8> = parts.iter().flat_map(|p| p.iter().copied()).collect();
        body.extend_from_slice(b"--XyZ--\r\n");
        form(TYPE, &body).map(|images| images.len())
    };
    assert_eq!(count(&[&photo]), Ok(1));
    assert_eq!(count(&[&photo, &nothing]), Ok(1));
    assert_eq!(count(&[&nothing, &caption, &photo, &other]), Ok(1));
    assert_eq!(count(&[&caption, &bare]), Ok(1));
    assert_eq!(count(&[&photo, &bare]), Ok(2));
    assert_eq!(count(&[&photo, &empty_file]), Ok(2));
    // What is no text keeps its place, whatever it is.
    let avif = part("name=file", b"\0\0\0\x1Cftypavif\0\0\0\0mif1avif");
    let damaged = part("name=file", b"NG\r\n\x1a\n\0\0\xff");
    let base64 = part("name=file", b"iVBORw0KGgoAAAANSUhEUgAA");
    assert_eq!(count(&[&photo, &avif, &damaged, &base64, &bare]), Ok(5));
    assert_eq!(count(&[&caption]), Ok(1));
    for parameter in ["top_k", "model", "explain", "timeout_ms"] {
        let field = part(&format!("name={parameter}"), b"3");
        let error = count(&[&field, &photo]).expect_err(parameter);
        assert!(
            error.contains(&format!("in the URL, as ?{parameter}=")),
            "{error}"
        );
    }
    let error = count(&[&nothing]).expect_err("no image");
    assert!(error.contains("no file was chosen"), "{error}");
    let error = count(&[&other]).expect_err("no image");
    assert!(error.contains("there are: \"comment\""), "{error}");
    let long = part(&format!("name=\"{}\"", "\u{1d11e}".repeat(90)), b"x");
    let error = count(&[&long; 9]).expect_err("no image");
    assert!(error.len() <= 600 && error.contains('…'), "{error}");
}

#[test]
fn broken_bodies_are_refused() {
    let whole = one("Content-Disposition: form-data; name=file");
    for end in 1..whole.len() - 4 {
        assert!(form(TYPE, &whole[..end]).is_err(), "cut to {end}");
    }
    let long = format!("X: {}", "y".repeat(MAX_HEADERS));
    for (content_type, body) in [
        ("multipart/form-data", whole.clone()),
        ("multipart/form-data; boundary=", whole.clone()),
        ("multipart/form-data; boundary=other", whole.clone()),
        (TYPE, one(&long)),
        (TYPE, b"--XyZjunk\r\n\r\n--XyZ--".to_vec()),
    ] {
        assert!(form(content_type, &body).is_err(), "{content_type}");
    }
}

#[test]
fn what_is_wrong_is_said_so_that_a_person_can_mend_it() {
    let part = "--XyZ\r\nContent-Disposition: form-data; name=file\r\n\r\nabc";
    let long = format!(
        "--XyZ\r\nX: {}\r\n\r\nabc\r\n--XyZ--",
        "y".repeat(MAX_HEADERS)
    );
    for (content_type, body, want) in [
        (
            "multipart/form-data",
            part,
            "no boundary; leave that header to the library",
        ),
        (
            TYPE,
            "",
            "no line of it begins with \"--XyZ\", the boundary that the content-type names",
        ),
        (
            TYPE,
            "--abc\r\n",
            "content-type names, it begins with \"--abc\"",
        ),
        (TYPE, "--XyZ", "behind the boundary of part 1 stands \"\""),
        (
            TYPE,
            "--XyZ\u{1b}[31m\r\n",
            "part 1 stands \"\u{fffd}[31m\"",
        ),
        (
            TYPE,
            "--XyZ\r\nContent-Disp",
            "it ends within the headers of part 1",
        ),
        (
            TYPE,
            &long,
            "the headers of part 1 have more than 8192 bytes",
        ),
        (
            TYPE,
            part,
            "part 1, \"file\", has no end: no line \"--XyZ--\" follows",
        ),
        (
            TYPE,
            &format!("{part}\r\n--XyZ"),
            "the boundary that ends part 1 stands \"\"",
        ),
        (
            TYPE,
            &format!("{part}\r\n{part}"),
            "part 2, \"file\", has no end",
        ),
    ] {
        let error = form(content_type, body.as_bytes()).expect_err(want);
        assert!(error.contains(want), "{want}: {error}");
    }
    let many = format!("{part}\r\n").repeat(65);
    let error = form(TYPE, format!("{many}--XyZ--").as_bytes()).expect_err("too many");
    assert_eq!(
        error,
        "the form has more than 64 fields for images, allowed are 32 images"
    );
}

proptest! {
    #[test]
    fn any_bytes_come_back_and_nothing_panics(
        images in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 1..4),
        noise in prop::collection::vec(prop::sample::select(&b"-XyZ\r\n :;=\"\\a"[..]), 0..80),
    ) {
        let mut body = Vec::new();
        for image in &images {
            body.extend_from_slice(b"--XyZ\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\n");
            body.extend_from_slice(image);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--XyZ--\r\n");
        let clean = images.iter().all(|image| memmem::find(image, b"--XyZ").is_none());
        if clean {
            let images: Vec<Bytes> = images.into_iter().map(Bytes::from).collect();
            prop_assert_eq!(form(TYPE, &body), Ok(images));
        }
        let _ = form(TYPE, &[b"--XyZ", &noise[..]].concat());
        let _ = form(TYPE, &[&noise[..], &body].concat());
    }
}
