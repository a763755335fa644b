//! A command of the real binary: what it says, and how it is ended.

use std::process::{Command, Output, Stdio};

use super::eventually;

/// Exit code, standard output and standard error.
pub(crate) fn text_of(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

/// Sends a command a signal once a condition holds, and waits for its end.
pub(crate) fn ended_by(signal: &str, mut command: Command, when: impl Fn() -> bool) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Open to the end: what is waited for must not end before the signal has arrived.
    let _stdin = child.stdin.take();
    eventually("it has got so far", when);
    let pid = child.id().to_string();
    let sent = Command::new("kill")
        .args([&format!("-{signal}"), &pid])
        .status();
    assert!(sent.unwrap().success());
    child.wait_with_output().unwrap()
}

/// Runs a command whose standard output nobody reads, and waits for its end.
pub(crate) fn without_a_reader(mut command: Command) -> Output {
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    child.wait_with_output().unwrap()
}
