//! A cgroup's quota of 0.5, 1 and 1.5 CPUs: threads follow it, and throughput falls in proportion.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use super::capacity;
use crate::args::Args;
use crate::http::Client;
use crate::photos::Mix;
use crate::report::Report;
use crate::server::{Server, line_with};

/// Quotas, in CPUs.
const QUOTAS: [f64; 3] = [0.5, 1.0, 1.5];

/// Length of the scheduler's period, in microseconds; the kernel's default.
const PERIOD_US: f64 = 100_000.0;

/// Least throughput per CPU of quota, as a share of the best quota's.
const PROPORTION: f64 = 0.75;

pub(super) async fn run(args: &Args) -> Result<bool, String> {
    if args.apart {
        return Err("the quota is the server's only where it has all CPUs, without --apart".into());
    }
    let mut report = Report::new(args);
    let mix = Arc::new(Mix::load(args)?);
    let (mut rows, mut per_cpu) = (Vec::new(), Vec::new());
    for quota in QUOTAS {
        let group = match Group::make(quota) {
            Ok(group) => group,
            Err(e) => {
                report.say(&format!("SKIPPED quota: {e}"));
                report.value("skipped", e);
                return Ok(report.finish());
            }
        };
        // A shell, so that the server is in the group before it looks.
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&group.0)
            .arg(&args.server);
        let server = Server::start_by(command, args, &[]).await?;
        let client = Client::new(server.address);
        let photos = Arc::clone(&mix);
        let full = capacity(&client, args.seconds_or(10.0), move |n| {
            photos.pick_small(n)
        })
        .await?;
        let threads = line_with(&server.log, "engine").unwrap_or_default();
        let number = |name: &str| threads[name].as_u64().unwrap_or(0);
        let allowed = (quota.floor() as u64).max(1);
        report.bound(
            format!("with {quota} CPUs there are {allowed} threads to decode and to infer"),
            format!("{} and {}", number("prep"), number("engine")),
            number("prep") == allowed && number("engine") == allowed,
        );
        let (periods, throttled) = group.throttled();
        rows.push(vec![
            format!("{quota}"),
            format!("{}/{}/{}", number("http"), number("prep"), number("engine")),
            format!("{:.1}", full.goodput),
            format!("{:.1}", full.goodput / quota),
            format!("{:.0}", full.good_ms[0]),
            format!("{:.0}", full.good_ms[1]),
            format!("{throttled} of {periods}"),
            full.others(),
        ]);
        // A server that hardly ever uses up its quota is held back by something else: other work on this machine.
        if throttled * 2 >= periods {
            per_cpu.push(full.goodput / quota);
        } else {
            report.say(&format!(
                "{quota} CPUs were not used up, as on a machine with other work: not compared"
            ));
        }
        report.after(&server, &[&client]).await;
        drop(server);
        group.remove().await;
    }
    report.table(
        "quotas",
        &[
            "CPUs",
            "http/prep/engine",
            "good/s",
            "per CPU",
            "p50 ms",
            "p99 ms",
            "throttled",
            "not 200",
        ],
        &rows,
    );
    if per_cpu.len() < 2 {
        report.say("SKIPPED proportion: fewer than two quotas can be compared");
        report.value("skipped", "proportion");
        return Ok(report.finish());
    }
    let best = per_cpu.iter().copied().fold(0.0, f64::max);
    let least = per_cpu.iter().copied().fold(f64::INFINITY, f64::min) / best;
    report.bound(
        format!("throughput per CPU is at least {PROPORTION} of the best quota's"),
        format!("{least:.2}"),
        least >= PROPORTION,
    );
    Ok(report.finish())
}

/// A cgroup of our own.
struct Group(PathBuf);

impl Group {
    /// Makes one with this quota, by whichever version of cgroups is mounted.
    fn make(quota: f64) -> Result<Group, String> {
        let name = format!("resnet-load-{}", std::process::id());
        let us = (quota * PERIOD_US) as u64;
        let (root, file, text) = match Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
            true => ("/sys/fs/cgroup", "cpu.max", format!("{us} {PERIOD_US}")),
            false => ("/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", us.to_string()),
        };
        let path = Path::new(root).join(name);
        let wrong = |e| format!("cannot make {} with a quota: {e}", path.display());
        fs::create_dir_all(&path).map_err(wrong)?;
        let group = Group(path.clone());
        fs::write(path.join(file), text).map_err(wrong)?;
        Ok(group)
    }

    /// Periods of the scheduler so far, and those in which the quota was used up.
    fn throttled(&self) -> (u64, u64) {
        let text = fs::read_to_string(self.0.join("cpu.stat")).unwrap_or_default();
        let value = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key));
            line.and_then(|v| v.trim().parse().ok()).unwrap_or(0)
        };
        (value("nr_periods "), value("nr_throttled "))
    }

    /// Removes it, once the last process has left.
    async fn remove(self) {
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0); // still in use after an error: then it stays, empty soon
    }
}
