//! What the slow and the flooding send, and how each must end.

use std::time::Duration;

/// The server's deadlines in this scenario, in seconds.
pub(super) const DEADLINE: u64 = 5;

/// How late the end may be.
const LATE: Duration = Duration::from_secs(4);

/// Connections of a slow case.
const SLOW: usize = 200;

/// How a connection sends.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    /// What is sent first.
    pub(super) head: Vec<u8>,
    /// What is sent over and over after that.
    pub(super) rest: Vec<u8>,
    pub(super) times: usize,
    /// The pause after each.
    pub(super) pause: Duration,
    /// Whether answers are read.
    pub(super) reads: bool,
    /// The status lines that may come, in their first digits; a close without an answer is allowed if one is empty.
    pub(super) ends: &'static [&'static str],
    /// The longest until the server ends it.
    pub(super) within: Duration,
    /// Most memory of all its connections, in MiB, and CPU time, in seconds.
    pub(super) memory_mib: u64,
    pub(super) cpu_seconds: f64,
}

/// All of them; the slow reader only if the server has a deadline for writing.
pub(super) fn cases(writes_have_a_deadline: bool) -> Vec<Case> {
    let deadline = Duration::from_secs(DEADLINE) + LATE;
    let base = Case {
        name: "",
        connections: SLOW,
        head: Vec::new(),
        rest: Vec::new(),
        times: 1_000_000,
        pause: Duration::from_millis(500),
        reads: true,
        ends: &[],
        within: deadline,
        memory_mib: 32,
        cpu_seconds: 4.0,
    };
    let post =
        |fields: &str| format!("POST /classify HTTP/1.1\r\nHost: x\r\n{fields}\r\n").into_bytes();
    let chunked = post("Transfer-Encoding: chunked\r\n");
    let mut cases = vec![
        Case {
            name: "slow head",
            head: b"GET /livez HTTP/1.1\r\nHost: x\r\n".to_vec(),
            rest: b"X: y\r\n".to_vec(),
            ends: &["", "408", "431"],
            ..base.clone()
        },
        Case {
            name: "slow body",
            head: post("Content-Length: 100000\r\n"),
            rest: b"x".to_vec(),
            ends: &["408"],
            ..base.clone()
        },
        Case {
            name: "slow chunks",
            head: chunked.clone(),
            rest: b"1\r\nx\r\n".to_vec(),
            ends: &["408"],
            ..base.clone()
        },
        Case {
            name: "a million one-byte chunks",
            connections: 1,
            head: chunked.clone(),
            rest: b"1\r\nx\r\n".repeat(1000),
            times: 1000,
            pause: Duration::ZERO,
            ends: &["408", "413", "415", "400"],
            cpu_seconds: 2.0,
            ..base.clone()
        },
        Case {
            name: "chunk-size line without end",
            connections: 10,
            head: chunked,
            rest: b"0".repeat(4096),
            times: 10_000,
            pause: Duration::ZERO,
            ends: &["400", "413", "431", "408", ""],
            ..base.clone()
        },
        Case {
            name: "header flood",
            connections: 50,
            head: b"GET /livez HTTP/1.1\r\nHost: x\r\n".to_vec(),
            rest: b"X-Flood: abcdefghijklmnopqrstuvwxyz\r\n".repeat(100),
            times: 10_000,
            pause: Duration::ZERO,
            ends: &["400", "431", ""],
            ..base.clone()
        },
        Case {
            name: "one header without end",
            connections: 50,
            head: b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: ".to_vec(),
            rest: b"a".repeat(4096),
            times: 10_000,
            pause: Duration::ZERO,
            ends: &["400", "431", ""],
            ..base.clone()
        },
        Case {
            name: "URL without end",
            connections: 50,
            head: b"GET /".to_vec(),
            rest: b"a".repeat(4096),
            times: 10_000,
            pause: Duration::ZERO,
            ends: &["400", "414", "431", ""],
            ..base.clone()
        },
    ];
    if writes_have_a_deadline {
        cases.push(Case {
            name: "slow reader",
            connections: 50,
            // Answers of 20 KiB and more: the sockets' buffers are full long before the end.
            head: b"GET /models/resnet18-tiny HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000),
            rest: b"GET /models/resnet18-tiny HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10),
            reads: false,
            ends: &[""],
            memory_mib: 64,
            ..base
        });
    }
    cases
}
