//! Queue, batches, cancellation and panics, with a fake network whose runs the test lets through one by one.

use std::sync::Arc;
use std::thread;

use crate::fake::{FakeModel, Gate, POISON, plain_png};
use crate::harness::{Answer, Settings, TestServer, eventually, multipart, raw};

fn start(settings: &Settings) -> (TestServer, Arc<Gate>) {
    let (model, gate) = FakeModel::loaded("fake");
    (TestServer::start(vec![model], settings), gate)
}

fn one_worker(queue_capacity: usize) -> Settings {
    Settings {
        workers: 1,
        queue_capacity,
        ..Settings::default()
    }
}

/// The fake network's second logit is the image's red, so the answer tells which image it belongs to.
fn probability_of_red(answer: &Answer) -> f64 {
    let answer = answer.ok();
    let predictions = answer["predictions"].as_array().unwrap();
    predictions.iter().find(|p| p["class_index"] == 1).unwrap()["probability"]
        .as_f64()
        .unwrap()
}

#[test]
fn not_ready_until_the_models_are_loaded() {
    let server = TestServer::start_unready(&Settings::default());
    assert_eq!(server.get("/livez").status, 200);
    for answer in [
        server.get("/readyz"),
        server.get("/models"),
        server.post("/classify", &plain_png(1)),
    ] {
        assert_eq!((answer.status, answer.code().as_str()), (503, "not_ready"));
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    assert_eq!(server.get("/metrics").status, 200);
}

#[test]
fn full_queue_is_503_with_retry_after_and_the_rest_is_answered() {
    let (server, gate) = start(&one_worker(2));
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(1); // it runs: its place in the queue is free again
        let waiting: Vec<_> = (0..2)
            .map(|_| scope.spawn(|| server.post("/classify", &plain_png(2))))
            .collect();
        eventually("both wait in the queue", || {
            let text = String::from_utf8(server.get("/metrics").body).unwrap();
            text.contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 2")
        });
        let refused = server.post("/classify", &plain_png(3));
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (503, "queue_full")
        );
        assert_eq!(refused.header("retry-after"), Some("1"));
        assert!(
            refused.json()["detail"]
                .as_str()
                .unwrap()
                .contains("2 images are waiting, the queue holds 2")
        );
        gate.open();
        for answer in waiting.into_iter().chain([first]) {
            answer.join().unwrap().ok();
        }
    });
    assert_eq!(
        server
            .metrics
            .requests_rejected
            .with_label_values(&["queue_full", "fake"])
            .get(),
        1
    );
    server.post("/classify", &plain_png(4)).ok();
}

#[test]
fn waiting_images_are_run_as_one_batch_and_answers_find_their_images() {
    let (server, gate) = start(&one_worker(64));
    let alone: Vec<f64> = (0..6)
        .map(|i| probability_of_red(&server.post("/classify", &plain_png(40 * i))))
        .collect();
    gate.close();
    thread::scope(|scope| {
        let server = &server;
        let post = |i: u8| {
            scope.spawn(move || probability_of_red(&server.post("/classify", &plain_png(40 * i))))
        };
        let first = post(0);
        gate.wait_for(7);
        let rest: Vec<_> = (1..6).map(post).collect();
        eventually("five wait", || {
            String::from_utf8(server.get("/metrics").body)
                .unwrap()
                .contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 5")
        });
        gate.open();
        let together: Vec<f64> = std::iter::once(first)
            .chain(rest)
            .map(|t| t.join().unwrap())
            .collect();
        assert_eq!(together, alone);
    });
    assert_eq!(gate.batches()[6..], [1, 5]);
    assert_eq!(
        server
            .metrics
            .batch_size
            .with_label_values(&["fake"])
            .get_sample_sum(),
        12.0
    );
}

#[test]
fn image_whose_client_has_left_is_not_run() {
    let (server, gate) = start(&one_worker(64));
    gate.close();
    thread::scope(|scope| {
        let first = scope.spawn(|| server.post("/classify", &plain_png(1)));
        gate.wait_for(1);
        let png = plain_png(2);
        let mut stream = std::net::TcpStream::connect(server.address).unwrap();
        let head = format!(
            "POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            png.len()
        );
        std::io::Write::write_all(&mut stream, &[head.as_bytes(), &png].concat()).unwrap();
        eventually("it waits", || {
            String::from_utf8(server.get("/metrics").body)
                .unwrap()
                .contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 1")
        });
        drop(stream);
        let canceled = |stage: &str| {
            server
                .metrics
                .requests_canceled
                .with_label_values(&[stage])
                .get()
        };
        let gone = || {
            server
                .metrics
                .requests
                .with_label_values(&["/classify", "", "499"])
                .get()
        };
        eventually("the server sees it leave", || gone() == 1);
        gate.open();
        first.join().unwrap().ok();
        eventually("its image is dropped", || canceled("queue") == 1);
    });
    assert_eq!(gate.batches(), [1]);
    server.post("/classify", &plain_png(3)).ok();
}

#[test]
fn panic_in_a_batch_fails_only_the_guilty_image() {
    let (server, gate) = start(&one_worker(64));
    let good = probability_of_red(&server.post("/classify", &plain_png(200)));
    gate.close();
    thread::scope(|scope| {
        let server = &server;
        let post = |red: u8| scope.spawn(move || server.post("/classify", &plain_png(red)));
        let first = post(1);
        gate.wait_for(2);
        let rest: Vec<_> = [200, POISON, 200].map(post).into_iter().collect();
        eventually("three wait", || {
            String::from_utf8(server.get("/metrics").body)
                .unwrap()
                .contains("resnet_queue_depth{model=\"fake\",stage=\"infer\"} 3")
        });
        gate.open();
        first.join().unwrap().ok();
        let answers: Vec<Answer> = rest.into_iter().map(|t| t.join().unwrap()).collect();
        assert_eq!(
            (answers[1].status, answers[1].code().as_str()),
            (500, "internal")
        );
        assert!(
            !String::from_utf8_lossy(&answers[1].body).contains("poisoned"),
            "{answers:?}"
        );
        assert_eq!(
            [&answers[0], &answers[2]].map(probability_of_red),
            [good, good]
        );
    });
    server.post("/classify", &plain_png(3)).ok();
}

#[test]
fn request_of_several_images_is_accepted_whole_or_not_at_all() {
    let (server, _gate) = start(&one_worker(3));
    let png = plain_png(1);
    let (content_type, body) = multipart(&[("file", &png[..]); 4]);
    let answer = server.post_as("/classify", &content_type, &body);
    assert_eq!((answer.status, answer.code().as_str()), (503, "queue_full"));
    let (content_type, body) = multipart(&[("file", &png[..]); 3]);
    assert_eq!(
        server.post_as("/classify", &content_type, &body).ok()["results"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn two_models_are_served_under_their_names() {
    let (first, first_gate) = FakeModel::loaded("first");
    let (second, second_gate) = FakeModel::loaded("second");
    let server = TestServer::start(vec![first, second], &Settings::default());
    assert_eq!(
        server.post("/classify", &plain_png(1)).ok()["model"],
        "first"
    );
    assert_eq!(
        server.post("/classify?model=second", &plain_png(1)).ok()["model"],
        "second"
    );
    assert_eq!(
        server.post("/models/second/classify", &plain_png(1)).ok()["model"],
        "second"
    );
    assert_eq!(
        (first_gate.batches().len(), second_gate.batches().len()),
        (1, 2)
    );
    let list = server.get("/models").ok();
    assert_eq!(
        (list["default"].as_str(), list["models"][1]["name"].as_str()),
        (Some("first"), Some("second"))
    );
}

#[test]
fn request_keeps_its_models_while_they_are_replaced() {
    let settings = Settings::default();
    let (old, old_gate) = FakeModel::loaded("old");
    let server = TestServer::start(vec![old], &settings);
    old_gate.close();
    thread::scope(|scope| {
        let under_way = scope.spawn(|| server.post("/models/old/classify", &plain_png(1)));
        old_gate.wait_for(1);
        let (new, new_gate) = FakeModel::loaded("new");
        server.replace_models(vec![new], &settings);
        assert_eq!(server.post("/classify", &plain_png(1)).ok()["model"], "new");
        assert_eq!(new_gate.batches(), [1]);
        let gone = server.post("/models/old/classify", &plain_png(1));
        assert_eq!((gone.status, gone.code().as_str()), (404, "unknown_model"));
        old_gate.open();
        assert_eq!(under_way.join().unwrap().ok()["model"], "old");
    });
    assert_eq!(old_gate.batches(), [1]);
    // Its model and its workers hold the gate too.
    eventually("the old models and their threads have ended", || {
        Arc::strong_count(&old_gate) == 1
    });
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (server, _gate) = start(&Settings::default());
    let mut requests = Vec::new();
    for i in 0..20 {
        let close = if i == 19 { "Connection: close\r\n" } else { "" };
        requests.extend(format!("GET /nope{i} HTTP/1.1\r\nHost: x\r\n{close}\r\n").bytes());
    }
    let answers = raw(server.address, &requests);
    let places: Vec<_> = (0..20)
        .map(|i| answers.find(&format!("nothing at /nope{i};")))
        .collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{answers}"
    );
}
