//! The proxies that the environment names for a download.

use super::command::{resnet, run};
use super::names_in;
use super::server::{TestServer, respond};

#[test]
fn https_download_goes_through_the_proxy_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = TestServer::start(|_, stream| respond(stream, "403 Forbidden", "", b""));
    let proxy_url = format!("http://ada:secret@127.0.0.1:{}", proxy.port);
    for name in ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"] {
        let (code, _, stderr) = run(resnet(dir.path())
            .args(["pull", "resnet50"])
            .env(name, &proxy_url));
        assert_eq!(code, 1);
        let words = format!(
            "proxy http://127.0.0.1:{} failed for https://huggingface.co/",
            proxy.port
        );
        assert!(
            stderr.contains(&words) && stderr.contains("403"),
            "{stderr}"
        );
        assert!(!stderr.contains("secret"), "{stderr}");
    }
    assert_eq!(proxy.heads().len(), 3);
    for head in proxy.heads() {
        assert!(
            head.starts_with("CONNECT huggingface.co:443 HTTP/1.1\r\n"),
            "{head}"
        );
        // base64 of ada:secret
        assert!(
            head.contains("Proxy-Authorization: Basic YWRhOnNlY3JldA==\r\n"),
            "{head}"
        );
    }
    assert_eq!(names_in(dir.path()), [""; 0]);
}

#[test]
fn mirror_named_in_no_proxy_is_reached_directly() {
    let dir = tempfile::tempdir().unwrap();
    let proxy = TestServer::start(|_, stream| respond(stream, "403 Forbidden", "", b""));
    let mirror = TestServer::start(|_, stream| respond(stream, "404 Not Found", "", b""));
    let pull = |no_proxy: &str| {
        run(resnet(dir.path())
            .args(["pull", "resnet50", "--mirror", &mirror.url("")])
            .env("HTTP_PROXY", proxy.url(""))
            .env("NO_PROXY", no_proxy))
    };
    let (_, _, stderr) = pull("example.org, 127.0.0.1");
    assert!(stderr.contains("status 404"), "{stderr}");
    assert_eq!((proxy.heads().len(), mirror.heads().len()), (0, 1));
    let (_, _, stderr) = pull("example.org");
    assert!(
        stderr.contains(&format!("proxy http://127.0.0.1:{} failed", proxy.port)),
        "{stderr}"
    );
    assert_eq!((proxy.heads().len(), mirror.heads().len()), (1, 1));
}
