//! What `resnet serve` says at its start, and where nobody can hear it.

use std::process::Child;

use super::run;
use crate::harness::{Answer, Process, agent, eventually, fixture_bytes, preset, resnet};

#[test]
fn start_up_says_what_the_built_in_model_is_and_why_these_threads() {
    let server = Process::start_as(preset(), &[]);
    let built_in = server.log.message("efficientnet-lite0 is built in");
    let words = built_in["message"].as_str().unwrap();
    for part in ["all 1000 ImageNet classes", "resnet pull resnet50"] {
        assert!(words.contains(part), "{words}");
    }
    let threads = server.log.message("threads");
    let because = threads["because"].as_str().unwrap();
    assert!(because.contains("cgroup quota"), "{threads}");
    let loaded = server.log.message("model loaded");
    let (precision, because) = (&loaded["precision"], &loaded["because"]);
    let because = because.as_str().unwrap();
    assert!(because.starts_with(precision.as_str().unwrap()), "{loaded}");
    let ready = server.log.message("ready");
    let (start_up, load) = (ready["startup_ms"].as_u64(), loaded["load_ms"].as_u64());
    assert!(load > Some(0) && start_up >= load, "{ready} after {loaded}");
}

#[test]
fn log_that_cannot_be_written_does_not_end_the_server() {
    let mut child = resnet()
        .args(["serve", "--port", "0"])
        .stderr(
            std::fs::File::options()
                .write(true)
                .open("/dev/full")
                .unwrap(),
        )
        .spawn()
        .unwrap();
    // Its log, which would tell the port, is lost.
    let mut port = None;
    eventually("it listens", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended");
        port = listening_port(&child);
        port.is_some()
    });
    let port = port.unwrap().to_string();
    eventually("it is ready", || {
        run(&["healthcheck", "--port", &port]).0 == 0
    });
    let url = format!("http://127.0.0.1:{port}/classify");
    let answer = agent()
        .post(url)
        .send(&fixture_bytes("photos/orange.png")[..]);
    Answer::of(answer).ok();
    assert!(child.try_wait().unwrap().is_none(), "it ended");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The TCP port that a process listens on over IPv4, as the kernel lists it.
fn listening_port(process: &Child) -> Option<u16> {
    let files = std::fs::read_dir(format!("/proc/{}/fd", process.id())).ok()?;
    let sockets: Vec<String> = files
        .filter_map(|file| std::fs::read_link(file.ok()?.path()).ok())
        .map(|target| target.display().to_string())
        .collect();
    // Fields of proc(5): 1 is ADDRESS:PORT in hex, 3 the state (0A listens), 9 the socket's number.
    let table = std::fs::read_to_string("/proc/net/tcp").ok()?;
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let own = sockets.contains(&format!("socket:[{}]", fields[9]));
        let (_, port) = fields[1].split_once(':')?;
        (own && fields[3] == "0A").then(|| u16::from_str_radix(port, 16).unwrap())
    })
}
