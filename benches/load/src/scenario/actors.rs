//! Who takes part in the soak: clients of all kinds, each with what it may be answered.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep, timeout};

use super::soak::{Shared, note};
use crate::args::Args;
use crate::http::{Client, Connection, Failure, Request};
use crate::photos::{Mix, files, scatter};
use crate::server::Server;

/// Where bursts come from.
const BURSTING: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 9));

/// A kind of client.
#[derive(Debug)]
pub(super) struct Actor {
    name: &'static str,
    /// From one act's end to the next one's start.
    pub(super) pause: Duration,
    does: Does,
}

#[derive(Debug)]
enum Does {
    /// Sends these in turn; each may be answered so.
    Asks(Vec<(Request, Vec<u16>)>),
    /// Sends photos of a mix.
    Photos(Box<Mix>),
    /// Sends the golden photo.
    Golden,
    /// So many photos at once, of which the server may refuse.
    Burst(Box<Mix>, u64),
    /// Sends a request to this share of its bytes, and leaves after a moment.
    LeavesAfter(Request, f64, Duration),
    /// Sends bytes that are no request, and reads until the server closes.
    Garbage(Vec<Vec<u8>>),
    /// Sends a body byte by byte until the server has enough.
    SlowBody,
    /// Connects and waits to be closed, so many at once.
    Idle(usize),
}

/// All of them.
///
/// # Errors
/// If the fixtures cannot be read.
pub(super) fn all(args: &Args) -> Result<Vec<Actor>, String> {
    let classify = |bytes| Request::post("/classify", "", bytes);
    let fixtures = |folder: &str, statuses: &[u16]| -> Result<Vec<(Request, Vec<u16>)>, String> {
        let files = files(&args.fixtures.join(folder))?.into_iter();
        let files = files.filter(|(name, _)| !name.ends_with(".json"));
        Ok(files
            .map(|(_, bytes)| (classify(bytes), statuses.to_vec()))
            .collect())
    };
    let photo = files(&args.fixtures.join("photos"))?;
    let photo = photo.into_iter().find(|(name, _)| name == "orange.png");
    let photo = photo.ok_or("photos/orange.png is missing")?.1;
    let multipart = multipart(&photo);
    let unknown = (0..50)
        .map(|i| (Request::get(&format!("/nothing/{}", scatter(i))), vec![404]))
        .chain([
            (Request::get("/classify"), vec![405]),
            (
                Request::post("/classify?top_k=0", "", photo.clone()),
                vec![400],
            ),
            (
                Request::post("/classify?model=nope", "", photo.clone()),
                vec![404],
            ),
            (
                Request::post("/models/nope/classify", "", photo.clone()),
                vec![404],
            ),
            (
                Request::post(
                    "/classify",
                    "Content-Type: application/json\r\n",
                    *b"{\"image\":",
                ),
                vec![400],
            ),
            (
                Request::post(
                    "/classify",
                    "Content-Type: multipart/form-data\r\n",
                    *b"--x",
                ),
                vec![400],
            ),
            (
                Request::post("/classify", "Content-Encoding: gzip\r\n", *b"\x1f\x8b"),
                vec![415],
            ),
        ])
        .collect();
    let garbage = vec![
        b"\x00\x01\x02\r\n\r\n".to_vec(),
        b"GET / HTTP/9.9\r\n\r\n".to_vec(),
        b"GET /livez HTTP/1.1\r\nHost".to_vec(),
        b"POST /classify HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ];
    let ms = Duration::from_millis;
    let actor = |name, pause, does| Actor { name, pause, does };
    Ok(vec![
        actor("photos", ms(40), Does::Photos(Box::new(Mix::load(args)?))),
        actor("golden photo", ms(500), Does::Golden),
        actor(
            "all formats",
            ms(100),
            Does::Asks(fixtures("images", &[200, 415, 422])?),
        ),
        actor(
            "hostile files",
            ms(200),
            Does::Asks(fixtures("hostile", &[200, 400, 415, 422])?),
        ),
        actor("form", ms(500), Does::Asks(vec![(multipart, vec![200])])),
        actor("wrong requests", ms(200), Does::Asks(unknown)),
        actor(
            "scrapes",
            ms(1000),
            Does::Asks(vec![
                (Request::get("/readyz"), vec![200]),
                (Request::get("/models"), vec![200]),
                (Request::get("/"), vec![200]),
            ]),
        ),
        actor(
            "leaves in its body",
            ms(300),
            Does::LeavesAfter(classify(photo.clone()), 0.5, ms(30)),
        ),
        actor(
            "leaves before the answer",
            ms(300),
            Does::LeavesAfter(classify(photo.clone()), 1.0, ms(2)),
        ),
        actor("half a head", ms(500), Does::Garbage(garbage)),
        actor("slow body", ms(1000), Does::SlowBody),
        actor("idle", ms(100), Does::Idle(50)),
        actor(
            "burst",
            Duration::from_secs(30),
            Does::Burst(Box::new(Mix::load(args)?), 800),
        ),
    ])
}

fn multipart(photo: &[u8]) -> Request {
    let mut body =
        b"--XyZ\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\n".to_vec();
    body.extend_from_slice(photo);
    body.extend_from_slice(b"\r\n--XyZ--\r\n");
    Request::post(
        "/classify",
        "Content-Type: multipart/form-data; boundary=XyZ\r\n",
        body,
    )
}

/// One act, and what came of it.
pub(super) async fn act(actor: &Actor, n: u64, server: &Server, client: &Client, shared: &Shared) {
    let name = actor.name;
    match &actor.does {
        Does::Asks(requests) => {
            let (request, allowed) = &requests[n as usize % requests.len()];
            ask(name, client, request, allowed, shared).await;
        }
        Does::Photos(mix) => {
            ask(name, client, &mix.pick(n), &[200], shared).await;
        }
        Does::Golden => {
            let body = ask(name, client, &server.golden, &[200], shared).await;
            if body.is_some_and(|b| !server.is_golden(&b)) {
                note(shared, |t| {
                    t.wrong("the golden photo got another answer".into())
                });
            }
        }
        Does::Burst(mix, count) => {
            let mut tasks = tokio::task::JoinSet::new();
            // From new connections of another address: whoever keeps its measure should hardly notice.
            let client = Client::from(server.address, BURSTING);
            note(shared, |t| t.bursts += 1);
            for i in 0..*count {
                let (client, shared, photo) = (
                    client.clone(),
                    shared.clone(),
                    mix.pick_small(n * count + i),
                );
                tasks.spawn(async move {
                    ask("burst", &client, &photo, &[200, 503, 504], &shared).await
                });
            }
            tasks.join_all().await;
            client.close();
            note(shared, |t| {
                t.bursts -= 1;
                t.burst_ended = Some(Instant::now());
            });
        }
        Does::LeavesAfter(request, share, moment) => {
            let Ok(mut connection) = Connection::open(server.address, None).await else {
                return note(shared, |t| t.wrong(format!("{name}: no connection")));
            };
            let length = (request.body().len() as f64 * share) as usize;
            let stream = connection.stream();
            let sent = async {
                stream.write_all(request.head()).await?;
                stream.write_all(&request.body()[..length]).await
            };
            match sent.await {
                Ok(()) => note(shared, |t| {
                    t.sent += 1;
                    t.answered(name, 0);
                }),
                Err(e) => note(shared, |t| t.wrong(format!("{name}: {e}"))),
            }
            sleep(*moment).await;
        }
        Does::Garbage(list) => {
            let Ok(mut connection) = Connection::open(server.address, None).await else {
                return note(shared, |t| t.wrong(format!("{name}: no connection")));
            };
            let _ = connection
                .stream()
                .write_all(&list[n as usize % list.len()])
                .await;
            let mut answer = Vec::new();
            let read = connection.stream().read_to_end(&mut answer);
            let ended = timeout(Duration::from_secs(60), read).await;
            let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).parse();
            let status: u16 = status.unwrap_or(0);
            note(shared, |t| match (ended.is_ok(), status) {
                (true, 0 | 400..=499) => t.answered(name, status),
                (false, _) => t.wrong(format!("{name}: the connection is never closed")),
                _ => t.wrong(format!("{name}: {status}")),
            });
        }
        Does::SlowBody => {
            let begun = Instant::now();
            let Ok(mut connection) = Connection::open(server.address, None).await else {
                return note(shared, |t| t.wrong(format!("{name}: no connection")));
            };
            let (mut reader, mut writer) = connection.stream().split();
            let write = async {
                let _ = writer
                    .write_all(
                        b"POST /classify HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
                    )
                    .await;
                while writer.write_all(b"x").await.is_ok() {
                    sleep(Duration::from_millis(200)).await;
                }
            };
            let mut answer = Vec::new();
            tokio::select! {
                _ = reader.read_to_end(&mut answer) => {}
                () = write => {}
            }
            let status = String::from_utf8_lossy(answer.get(9..12).unwrap_or_default()).parse();
            let status = status.unwrap_or(0);
            note(shared, |t| {
                t.sent += 1;
                match status {
                    408 => t.answered(name, status),
                    503 if t.may_refuse(begun) => t.answered(name, status),
                    _ => t.wrong(format!("{name}: {status}")),
                }
            });
        }
        Does::Idle(count) => {
            let mut held = Vec::new();
            for _ in 0..*count {
                held.extend(Connection::open(server.address, None).await);
            }
            let mut byte = [0];
            for mut connection in held {
                let closed =
                    timeout(Duration::from_secs(60), connection.stream().read(&mut byte)).await;
                note(shared, |t| match closed {
                    Ok(_) => t.answered(name, 0),
                    Err(_) => t.wrong(format!("{name}: a connection is never closed")),
                });
            }
        }
    }
}

/// Sends a request; the answer's body if its status is 200.
async fn ask(
    name: &'static str,
    client: &Client,
    request: &Request,
    allowed: &[u16],
    shared: &Shared,
) -> Option<Vec<u8>> {
    let sent = Instant::now();
    // More than any deadline of the server.
    let answer = timeout(Duration::from_secs(120), client.send(request)).await;
    let answer = answer.unwrap_or_else(|_| Err(Failure::Cut("no answer in two minutes".into())));
    note(shared, |t| {
        t.sent += 1;
        match &answer {
            Ok(answer) => {
                t.answered(name, answer.status);
                let refused = matches!(answer.status, 503 | 504) && t.may_refuse(sent);
                if !allowed.contains(&answer.status) && !refused {
                    t.wrong(format!("{name}: {} {}", answer.status, answer.code()));
                }
            }
            Err(e) => t.wrong(format!("{name}: {e}")),
        }
    });
    answer.ok().filter(|a| a.status == 200).map(|a| a.body)
}
