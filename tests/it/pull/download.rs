//! Downloads that end well, through the library: resumed, retried, redirected, proxied, many at once.

use std::fs;
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use resnet::registry::{
    FetchError, FetchOptions, FetchSource, ModelState, Progress, ProxySettings,
};

use super::server::{TestServer, respond, respond_with_range};
use super::{Bench, options};

#[test]
fn pulled_model_has_its_digest_and_its_name() {
    let bench = Bench::new();
    let server = TestServer::of_file(&bench.content);
    let (result, steps) = bench.fetch(&FetchSource::Url(server.url("/a.onnx")), &options());
    assert_eq!(result.unwrap(), bench.store.path_of(&bench.entry));
    bench.assert_whole();
    assert_eq!(steps.last(), Some(&Progress::Verifying));
    assert!(steps.contains(&Progress::Received { bytes: 300_000 }));
    let head = server.heads()[0].to_lowercase();
    assert!(head.starts_with("get /a.onnx http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!(
            "user-agent: resnet/{}\r\n",
            env!("CARGO_PKG_VERSION")
        )),
        "{head}"
    );
    assert!(
        head.contains("accept-encoding: identity\r\n") && !head.contains("range:"),
        "{head}"
    );
}

#[test]
fn mirror_serves_the_file_under_its_catalogue_name() {
    let bench = Bench::new();
    let server = TestServer::of_file(&bench.content);
    bench
        .fetch(&FetchSource::Mirror(server.url("/zoo/")), &options())
        .0
        .unwrap();
    bench.assert_whole();
    assert!(server.heads()[0].starts_with("GET /zoo/resnet18-v1-7.onnx HTTP/1.1\r\n"));
}

#[test]
fn connection_cut_in_the_middle_is_resumed_from_there_at_once() {
    let bench = Bench::new();
    let server = TestServer::cut_once(&bench.content, 150_000);
    let (result, steps) = bench.fetch(&FetchSource::Url(server.url("/a.onnx")), &options());
    result.unwrap();
    bench.assert_whole();
    assert_eq!(server.offset_of(1), 150_000);
    assert!(
        steps
            .iter()
            .any(|step| matches!(step, Progress::Retrying { attempt: 1, .. })),
        "{steps:?}"
    );
}

#[test]
fn chunked_body_cut_in_the_middle_is_resumed_too() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let server = TestServer::start(move |request, stream| match request.number {
        0 => {
            let chunk = [b"3e8\r\n", &content[..1_000], b"\r\n"].concat();
            respond(stream, "200 OK", "Transfer-Encoding: chunked\r\n", &chunk);
        }
        _ => respond_with_range(request, stream, &content, usize::MAX),
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
    assert_eq!(server.offset_of(1), 1_000);
}

#[test]
fn next_pull_resumes_what_a_cut_one_left() {
    let bench = Bench::new();
    let server = TestServer::cut_once(&bench.content, 100_000);
    let once = FetchOptions {
        retries: 0,
        ..options()
    };
    let source = FetchSource::Url(server.url("/a.onnx"));
    let error = bench.fetch(&source, &once).0.unwrap_err();
    assert!(
        matches!(
            error,
            FetchError::Cut {
                got: 100_000,
                total: 300_000,
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error
            .to_string()
            .contains("100000 of 300000 bytes are kept, pull again to resume"),
        "{error}"
    );
    assert_eq!(
        bench.store.state_of(&bench.entry).unwrap(),
        ModelState::Partial { bytes: 100_000 }
    );
    let (result, steps) = bench.fetch(&source, &once);
    result.unwrap();
    assert_eq!(steps[0], Progress::Resuming { bytes: 100_000 });
    bench.assert_whole();
    assert_eq!(server.heads().len(), 2);
}

#[test]
fn connection_that_is_always_cut_is_given_up_after_three_retries() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let server = TestServer::start(move |request, stream| {
        respond_with_range(request, stream, &content, 1_000)
    });
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(
        matches!(error, FetchError::Cut { got: 4_000, .. }),
        "{error}"
    );
    assert_eq!(server.heads().len(), 4);
}

#[test]
fn complete_leftover_needs_no_request() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(bench.store.part_path_of(&bench.entry), &bench.content).unwrap();
    let server = TestServer::start(|_, stream| respond(stream, "500 Oops", "", b""));
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
    assert_eq!(server.heads().len(), 0);
}

#[test]
fn server_that_ignores_the_range_is_read_from_the_start() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(bench.store.part_path_of(&bench.entry), b"leftover").unwrap();
    let content = bench.content.clone();
    let server = TestServer::start(move |_, stream| {
        respond(
            stream,
            "200 OK",
            &format!("Content-Length: {}\r\n", content.len()),
            &content,
        );
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
    assert_eq!(server.heads().len(), 1);
}

#[test]
fn range_that_is_refused_or_answered_elsewhere_starts_over_once() {
    for answer in [
        (
            "416 Range Not Satisfiable",
            "Content-Range: bytes */300000\r\nContent-Length: 0\r\n",
        ),
        (
            "206 Partial Content",
            "Content-Range: bytes 0-1/300000\r\nContent-Length: 2\r\n",
        ),
        ("206 Partial Content", "Content-Length: 2\r\n"),
    ] {
        let bench = Bench::new();
        fs::create_dir_all(bench.store.dir()).unwrap();
        fs::write(bench.store.part_path_of(&bench.entry), b"leftover").unwrap();
        let content = bench.content.clone();
        let server = TestServer::start(move |request, stream| match request.offset() {
            0 => respond_with_range(request, stream, &content, usize::MAX),
            _ => respond(stream, answer.0, answer.1, b"xx"),
        });
        bench.fetch_from(server.url("/a.onnx")).unwrap();
        bench.assert_whole();
        assert_eq!(server.heads().len(), 2, "{answer:?}");
    }
}

#[test]
fn server_that_always_answers_416_is_asked_twice() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(bench.store.part_path_of(&bench.entry), b"leftover").unwrap();
    let server =
        TestServer::start(|_, stream| respond(stream, "416 Range Not Satisfiable", "", b""));
    let error = bench.fetch_from(server.url("/a.onnx")).unwrap_err();
    assert!(
        matches!(error, FetchError::Status { status: 416, .. }),
        "{error}"
    );
    assert_eq!(server.heads().len(), 2);
    bench.assert_nothing_left();
}

#[test]
fn body_without_a_length_is_fine_if_the_digest_is() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let server = TestServer::start(move |_, stream| respond(stream, "200 OK", "", &content));
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
}

#[test]
fn server_that_recovers_is_asked_again() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let server = TestServer::start(move |request, stream| match request.number {
        0 => respond(stream, "503 Busy", "", b""),
        _ => respond_with_range(request, stream, &content, usize::MAX),
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
}

#[test]
fn connection_that_stalls_is_cut_and_resumed() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let (release, held) = mpsc::channel::<()>();
    let held = Mutex::new(held);
    let server = TestServer::start(move |request, stream| {
        let most = if request.number == 0 {
            150_000
        } else {
            usize::MAX
        };
        respond_with_range(request, stream, &content, most);
        if request.number == 0 {
            // Holds the connection open until the test is over.
            let _ = held.lock().unwrap().recv();
        }
    });
    let quick = FetchOptions {
        stall_timeout: Duration::from_millis(300),
        ..options()
    };
    let (result, steps) = bench.fetch(&FetchSource::Url(server.url("/a.onnx")), &quick);
    result.unwrap();
    bench.assert_whole();
    assert_eq!(server.offset_of(1), 150_000);
    let told = steps.iter().find_map(|step| match step {
        Progress::Retrying { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert!(
        told.unwrap().contains("no bytes came for 0.3 s"),
        "{steps:?}"
    );
    drop(release);
}

#[test]
fn redirect_is_followed_with_the_range() {
    let bench = Bench::new();
    fs::create_dir_all(bench.store.dir()).unwrap();
    fs::write(
        bench.store.part_path_of(&bench.entry),
        &bench.content[..1_000],
    )
    .unwrap();
    let content = bench.content.clone();
    let server = TestServer::start(move |request, stream| match request.number {
        0 => respond(
            stream,
            "302 Found",
            "Location: /elsewhere?token=1\r\nContent-Length: 0\r\n",
            b"",
        ),
        _ => respond_with_range(request, stream, &content, usize::MAX),
    });
    bench.fetch_from(server.url("/a.onnx")).unwrap();
    bench.assert_whole();
    let head = server.heads()[1].to_lowercase();
    assert!(
        head.starts_with("get /elsewhere?token=1 ") && head.contains("range: bytes=1000-\r\n"),
        "{head}"
    );
}

#[test]
fn many_pulls_at_once_leave_one_whole_file() {
    let bench = Bench::new();
    let server = TestServer::of_file(&bench.content);
    let source = FetchSource::Url(server.url("/a.onnx"));
    let results: Vec<_> = thread::scope(|scope| {
        let pulls: Vec<_> = (0..16)
            .map(|_| scope.spawn(|| bench.fetch(&source, &options()).0))
            .collect();
        pulls.into_iter().map(|pull| pull.join().unwrap()).collect()
    });
    assert!(results.iter().any(Result::is_ok));
    for error in results.into_iter().filter_map(Result::err) {
        assert!(matches!(error, FetchError::Locked { .. }), "{error}");
    }
    bench.assert_whole();
}

#[test]
fn tunnel_through_a_proxy_carries_the_download() {
    let bench = Bench::new();
    let content = bench.content.clone();
    let proxy = TestServer::start(move |request, stream| {
        assert!(
            request.head.starts_with("CONNECT models.example:80 "),
            "{}",
            request.head
        );
        let _ = write!(stream, "HTTP/1.1 200 OK\r\n\r\n");
        let mut head = [0; 4_096];
        assert!(stream.read(&mut head).unwrap() > 0);
        respond(
            stream,
            "200 OK",
            &format!("Content-Length: {}\r\n", content.len()),
            &content,
        );
    });
    let proxies = ProxySettings {
        http: Some(proxy.url("")),
        ..ProxySettings::default()
    };
    let through = FetchOptions {
        proxies,
        ..options()
    };
    bench
        .fetch(
            &FetchSource::Url("http://models.example/a.onnx".into()),
            &through,
        )
        .0
        .unwrap();
    bench.assert_whole();
}
