//! Tells the binary which commit it was built from, for `--version` and the metrics.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RESNET_COMMIT");
    println!("cargo:rerun-if-changed=.git/HEAD");
    println!("cargo:rerun-if-changed=.git/logs/HEAD");
    let commit = std::env::var("RESNET_COMMIT")
        .ok()
        .filter(|c| !c.is_empty())
        .or_else(git_commit);
    println!(
        "cargo:rustc-env=RESNET_COMMIT={}",
        commit.as_deref().unwrap_or("unknown commit")
    );
}

/// The short hash of HEAD; none in a source archive.
fn git_commit() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !commit.is_empty()).then_some(commit)
}
