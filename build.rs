//! Tells the binary which commit it was built from, for `--version` and the metrics.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=RESNET_COMMIT");
    // Without a line that names a file, cargo runs this again for a change of any.
    println!("cargo:rerun-if-changed=build.rs");
    let given = std::env::var("RESNET_COMMIT").ok();
    let commit = given.filter(|c| !c.is_empty()).or_else(git_commit);
    println!(
        "cargo:rustc-env=RESNET_COMMIT={}",
        commit.as_deref().unwrap_or("unknown commit")
    );
}

/// The short hash of HEAD, which is watched from now on; none in a source archive, also where that lies inside of
/// somebody else's repository.
fn git_commit() -> Option<String> {
    let top = PathBuf::from(git(&["rev-parse", "--show-toplevel"])?);
    if top.canonicalize().ok()? != Path::new(".").canonicalize().ok()? {
        return None;
    }
    // The log of HEAD changes with every commit and checkout. A repository need not keep one: then HEAD and what it
    // names have changed. A file that is not there must not be named, or cargo runs this every time.
    let branch = git(&["symbolic-ref", "--quiet", "HEAD"]);
    for file in ["HEAD", "logs/HEAD", "packed-refs"]
        .into_iter()
        .chain(branch.as_deref())
    {
        let path = git(&["rev-parse", "--git-path", file])?;
        if Path::new(&path).is_file() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

/// The one line that git answers.
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let line = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !line.is_empty()).then_some(line)
}
