//! Calls by TLS, and through a proxy that speaks HTTP/2 to the server.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::{Called, INFER, UNAUTHENTICATED, address_of, call, call_raw, framed, photo, request};
use crate::harness::Process;
use crate::harness::http2::{Exchanged, block_on, connect, exchange};
use crate::proxies::Proxy;
use crate::tls::{Files, Identity, client_of};

/// The numbers of the photo, by a call without anything between.
fn expected() -> Vec<u8> {
    let plain = Process::start(&["--grpc-port", "0"]);
    let response = call(address_of(&plain), &photo()).infer();
    response.raw_output_contents.concat()
}

#[test]
fn call_by_tls_is_answered_as_any_other() {
    let identity = Identity::new();
    let files = Files::with(&identity);
    let server = files.serve(&["--grpc-port", "0"]);
    let address = address_of(&server);
    let ask = |protocol: &'static str| -> std::io::Result<Exchanged> {
        let mut config = client_of(
            &[&identity],
            &[&rustls::version::TLS12, &rustls::version::TLS13],
        );
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        block_on(async {
            let connector = TlsConnector::from(Arc::new(config));
            let name = ServerName::from(address.ip());
            let stream = connector.connect(name, connect(address).await).await?;
            let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
            assert_eq!(agreed.as_deref(), Some(protocol.as_bytes()));
            let request = request(&format!("https://{address}"), INFER, &[]);
            Ok(exchange(stream, request, framed(&photo())).await)
        })
    };
    let answer = Called::of(ask("h2").unwrap()).infer();
    assert_eq!(answer.raw_output_contents.concat(), expected());
    let refused = ask("http/1.1").expect_err("gRPC is HTTP/2").to_string();
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
}

#[test]
fn call_through_haproxy_is_answered_as_any_other() {
    let keys = [("RESNET_API_KEYS", "alice:a-key-of-sixteen-letters-or-more")];
    let server = Process::start_with_env(&["--grpc-port", "0"], &keys);
    let Some(proxy) = Proxy::start("haproxy-h2", address_of(&server)) else {
        return;
    };
    let body = framed(&photo());
    let key = [("x-api-key", "a-key-of-sixteen-letters-or-more")];
    for _ in 0..2 {
        let answer = call_raw(proxy.address, INFER, &key, &body).infer();
        assert_eq!(answer.raw_output_contents.concat(), expected());
        // A status without a message comes through as well.
        call_raw(proxy.address, INFER, &[], &body).fails(UNAUTHENTICATED, "a key is needed");
    }
    let health = call_raw(
        proxy.address,
        "/grpc.health.v1.Health/Check",
        &[],
        b"\0\0\0\0\0",
    );
    assert_eq!(health.body, b"\0\0\0\0\x02\x08\x01");
}
