//! Downloads that are refused, through the library: what is wrong is named, and nothing of it is kept.

use std::fs;
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use resnet::registry::{FetchError, FetchOptions, FetchSource, ModelState, ProxySettings};

use super::server::{TestServer, respond, respond_with_range, tls_server};
use super::{Bench, names_in, options};

#[test]
fn wrong_digest_leaves_nothing_behind() {
    let bench = Bench::new();
    let server = TestServer::start(|_, stream| {
        respond(
            stream,
            "200 OK",
            "Content-Length: 300000\r\n",
            &[7; 300_000],
        )
    });
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(matches!(error, FetchError::WrongDigest { .. }), "{error}");
    assert!(error.to_string().contains(&bench.entry.sha256), "{error}");
    bench.assert_nothing_left();
}

#[test]
fn leftover_of_another_file_is_found_out_by_the_digest() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(bench.store.part_path_of(&bench.entry), b"not the beginning").unwrap();
    let server = TestServer::of_file(&bench.content);
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(matches!(error, FetchError::WrongDigest { .. }), "{error}");
    bench.assert_nothing_left();
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
}

#[test]
fn failed_replacement_keeps_the_old_file() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(bench.store.path_of(&bench.entry), b"old").unwrap();
    let server = TestServer::start(|_, stream| {
        respond(
            stream,
            "200 OK",
            "Content-Length: 300000\r\n",
            &[7; 300_000],
        )
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert_eq!(fs::read(bench.store.path_of(&bench.entry)).unwrap(), b"old");
    assert_eq!(names_in(bench.store.dir()), [bench.entry.file.as_str()]);
}

#[test]
fn announced_size_that_is_not_the_models_is_refused_before_the_body() {
    for length in [300_001, 299_999, 0] {
        let bench = Bench::new();
        let server = TestServer::start(move |_, stream| {
            respond(
                stream,
                "200 OK",
                &format!("Content-Length: {length}\r\n"),
                b"",
            );
        });
        let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
        assert!(
            matches!(error, FetchError::WrongSize { got, expected: 300_000, .. } if got == length),
            "{error}"
        );
        assert_eq!(server.heads().len(), 1);
        bench.assert_nothing_left();
    }
}

#[test]
fn login_page_in_place_of_the_model_does_not_cost_the_leftover() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(
        bench.store.part_path_of(&bench.entry),
        &bench.content[..200_000],
    )
    .unwrap();
    let server = TestServer::start(|_, stream| {
        respond(stream, "200 OK", "Content-Length: 6\r\n", b"<html>")
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert_eq!(
        bench.store.state_of(&bench.entry).unwrap(),
        ModelState::Partial { bytes: 200_000 }
    );
}

#[test]
fn chunked_body_larger_than_the_model_is_stopped_and_leaves_nothing_behind() {
    let bench = Bench::new();
    let (sent, received) = mpsc::channel();
    let server = TestServer::start(move |_, stream| {
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let mut chunks = 0;
        // Without end, unless the client hangs up.
        while write!(stream, "10000\r\n")
            .and_then(|()| stream.write_all(&[7; 65_536]))
            .is_ok()
            && stream.write_all(b"\r\n").is_ok()
        {
            chunks += 1;
        }
        sent.send(chunks).unwrap();
    });
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(
        matches!(error, FetchError::TooLarge { limit: 300_000, .. }),
        "{error}"
    );
    bench.assert_nothing_left();
    assert!(received.recv_timeout(Duration::from_secs(20)).unwrap() < 1_000);
}

#[test]
fn chunked_body_smaller_than_the_model_is_refused_as_whole_but_wrong() {
    let bench = Bench::new();
    let server = TestServer::start(|_, stream| {
        respond(
            stream,
            "200 OK",
            "Transfer-Encoding: chunked\r\n",
            b"5\r\nhello\r\n0\r\n\r\n",
        );
    });
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(
        matches!(error, FetchError::TooSmall { got: 5, .. }),
        "{error}"
    );
    bench.assert_nothing_left();
}

#[test]
fn error_status_is_named_and_leaves_nothing_behind() {
    for (status, requests) in [(404, 1), (403, 1), (401, 1), (500, 4), (503, 4), (429, 4)] {
        let bench = Bench::new();
        let server = TestServer::start(move |_, stream| {
            respond(stream, &format!("{status} No"), "", b"sorry")
        });
        let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&format!("answered with status {status}")),
            "{error}"
        );
        assert_eq!(server.heads().len(), requests, "status {status}");
        bench.assert_nothing_left();
    }
}

#[test]
fn server_that_never_answers_is_reported_after_the_stall_timeout() {
    let bench = Bench::new();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = TestServer::start(move |_, _| {
        let _ = held.lock().unwrap().recv();
    });
    let quick = FetchOptions {
        stall_timeout: Duration::from_millis(200),
        ..options()
    };
    let error = bench
        .fetch(&FetchSource::Url(server.url("/a.onnx")), &quick)
        .0
        .unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(
        error.to_string().contains("no bytes came for 0.2 s"),
        "{error}"
    );
    bench.assert_nothing_left();
    drop(release);
}

#[test]
fn address_where_nobody_listens_is_reported() {
    let bench = Bench::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let error = bench
        .fetch_from(format!("http://ada:secret@127.0.0.1:{port}/a.onnx"))
        .unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("cannot reach http://127.0.0.1:{port}/a.onnx: ")),
        "{error}"
    );
    bench.assert_nothing_left();
}

#[test]
fn redirect_loop_ends() {
    let bench = Bench::new();
    let server =
        TestServer::start(|_, stream| respond(stream, "302 Found", "Location: /again\r\n", b""));
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(matches!(error, FetchError::RedirectLoop { .. }), "{error}");
    assert!(server.heads().len() < 20);
    bench.assert_nothing_left();
}

#[test]
fn catalogue_url_must_be_https() {
    let mut bench = Bench::new();
    let server = TestServer::start(|_, stream| respond(stream, "200 OK", "", b""));
    bench.entry.url = server.url("/a.onnx");
    let error = bench
        .fetch(&FetchSource::Catalogue, &options())
        .0
        .unwrap_err();
    assert!(matches!(error, FetchError::NotHttps { .. }), "{error}");
    assert_eq!(server.heads().len(), 0);
    assert!(!bench.store.dir().exists());
}

#[test]
fn url_of_another_scheme_is_refused() {
    for url in ["ftp://127.0.0.1/a.onnx", "http://", "https://a b/c"] {
        let bench = Bench::new();
        let error = bench.fetch_from(url.to_owned()).unwrap_err();
        assert!(matches!(error, FetchError::BadUrl { .. }), "{url}: {error}");
    }
}

#[test]
fn certificate_of_the_ca_file_is_trusted_and_no_other() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let content = bench.content.clone();
    let (server, ca_file) = tls_server(dir.path(), move |request, stream| {
        respond_with_range(request, stream, &content, usize::MAX)
    });
    bench.entry.url = format!("https://127.0.0.1:{}/a.onnx", server.port);

    let error = bench
        .fetch(&FetchSource::Catalogue, &options())
        .0
        .unwrap_err();
    assert!(matches!(error, FetchError::Tls { .. }), "{error}");
    assert!(error.to_string().contains("--ca-file"), "{error}");
    bench.assert_nothing_left();

    let trusting = FetchOptions {
        ca_file: Some(ca_file),
        ..options()
    };
    bench.fetch(&FetchSource::Catalogue, &trusting).0.unwrap();
    bench.assert_whole();
}

#[test]
fn catalogue_download_does_not_follow_a_redirect_to_http() {
    let mut bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let plain = TestServer::of_file(&bench.content);
    let location = plain.url("/a.onnx?token=secret");
    let (server, ca_file) = tls_server(dir.path(), move |_, stream| {
        respond(
            stream,
            "302 Found",
            &format!("Location: {location}\r\nContent-Length: 0\r\n"),
            b"",
        );
    });
    bench.entry.url = format!("https://127.0.0.1:{}/a.onnx", server.port);
    let trusting = FetchOptions {
        ca_file: Some(ca_file),
        ..options()
    };
    let error = bench
        .fetch(&FetchSource::Catalogue, &trusting)
        .0
        .unwrap_err();
    assert!(
        matches!(error, FetchError::InsecureRedirect { .. }),
        "{error}"
    );
    assert!(!error.to_string().contains("secret"), "{error}");
    assert_eq!(plain.heads().len(), 0);
    bench.assert_nothing_left();

    // A URL that the user chose may lead there: the digest decides.
    bench
        .fetch(&FetchSource::Url(bench.entry.url.clone()), &trusting)
        .0
        .unwrap();
    bench.assert_whole();
}

#[test]
fn unusable_ca_file_is_refused_before_any_request() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "no certificate here\n").unwrap();
    for path in [empty, dir.path().join("missing.pem")] {
        let with = FetchOptions {
            ca_file: Some(path.clone()),
            ..options()
        };
        let error = bench.fetch(&FetchSource::Catalogue, &with).0.unwrap_err();
        assert!(matches!(error, FetchError::CaFile { .. }), "{error}");
        assert!(
            error.to_string().contains(path.to_str().unwrap()),
            "{error}"
        );
    }
}

#[test]
fn file_of_this_machine_is_copied_and_checked() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("from-usb.onnx");
    let source = FetchSource::from_argument(file.to_str().unwrap());
    assert_eq!(source, FetchSource::File(file.clone()));

    for (content, word) in [
        (vec![7; 300_000], "its sha256 is"),
        (vec![7; 300_001], "it has 300001 bytes, the model 300000"),
        (vec![7; 5], "it has 5 bytes, the model 300000"),
    ] {
        fs::write(&file, content).unwrap();
        let error = bench.fetch(&source, &options()).0.unwrap_err();
        assert!(error.to_string().contains(word), "{error}");
        bench.assert_nothing_left();
    }
    fs::write(&file, &bench.content).unwrap();
    bench.fetch(&source, &options()).0.unwrap();
    bench.assert_whole();
    assert!(file.exists());
}

#[test]
fn source_that_is_not_a_readable_file_is_refused() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    let part = bench.store.part_path_of(&bench.entry);
    fs::write(&part, b"abc").unwrap();
    for (path, word) in [
        (bench.store.dir().join("missing.onnx"), "missing.onnx"),
        (bench.store.dir().to_owned(), "not a file"),
        (part.clone(), "the unfinished download itself"),
    ] {
        let error = bench
            .fetch(&FetchSource::File(path), &options())
            .0
            .unwrap_err();
        assert!(matches!(error, FetchError::SourceFile { .. }), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    }
    assert_eq!(fs::read(part).unwrap(), b"abc");
}

#[test]
fn proxy_of_an_unknown_kind_is_refused_by_name() {
    let bench = Bench::new();
    for proxy in ["socks5://127.0.0.1:1", "gopher://x", "http://"] {
        let proxies = ProxySettings {
            https: Some(proxy.into()),
            ..ProxySettings::default()
        };
        let with = FetchOptions {
            proxies,
            ..options()
        };
        let error = bench.fetch(&FetchSource::Catalogue, &with).0.unwrap_err();
        assert!(matches!(error, FetchError::Proxy { .. }), "{error}");
        assert!(error.to_string().contains(proxy), "{error}");
    }
}
