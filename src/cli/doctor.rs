//! `resnet doctor`: what this machine offers, what would be chosen here, and whether the models load.
//!
//! Prints facts in rows; exit code 1 if something would keep `serve` from working.

use std::process::ExitCode;

use clap::Args;

use super::args::{ModelArgs, arithmetic};
use super::output::print;
use super::show::operators;
use crate::config::{CpuBudget, EngineConfig, ThreadPlan, memory_limit};
use crate::engine::EngineOptions;
use crate::registry::{self, Catalog, ModelState};
use crate::table::Table;
use kernels::Isa;

/// The flags of `resnet doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineConfig,
}

/// Runs the checks.
///
/// # Errors
/// If standard output fails.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let mut text = Table::of_pairs(14);
    let mut healthy = true;
    let budget = CpuBudget::detect();
    let ThreadPlan {
        http,
        prep,
        engine,
        per_worker,
    } = args.engine.threads(&budget);
    let options = arithmetic::engine_options(&args.engine, &budget)?;
    text.row(["version", super::version()]);
    text.row([
        "system",
        &format!("{} on {}", std::env::consts::OS, std::env::consts::ARCH),
    ]);
    text.row(["cpu features", &cpu_features().join(" ")]);
    text.row(["pixel kernels", options.features.isa.name()]);
    text.row(["engine", &engine_words(&options)]);
    text.row(["cpus", &format!("{} ({})", budget.cpus, budget.reason())]);
    let memory = memory_limit().map_or_else(
        || "no cgroup limit".into(),
        |bytes| format!("cgroup limit {} MiB", bytes >> 20),
    );
    text.row(["memory", &memory]);
    text.row([
        "threads",
        &format!("{http} http, {prep} prep, {engine} engine, up to {per_worker} on one inference"),
    ]);
    match args.model.store.store() {
        Ok(store) => {
            let catalog = Catalog::builtin();
            let present = |e: &&registry::CatalogEntry| {
                matches!(store.state_of(e), Ok(ModelState::Present { .. }))
            };
            let names: Vec<&str> = catalog
                .entries()
                .iter()
                .filter(present)
                .map(|e| e.name.as_str())
                .collect();
            let names = if names.is_empty() {
                "no pulled model".into()
            } else {
                names.join(", ")
            };
            text.row(["store", &format!("{}: {names}", store.dir().display())]);
        }
        Err(e) => text.row(["store", &format!("none: {e:#}")]),
    }
    let checked = args.model.references().and_then(|references| {
        references
            .iter()
            .map(|r| registry::load(r, &options).map_err(anyhow::Error::from))
            .collect::<anyhow::Result<Vec<_>>>()
    });
    match checked {
        Ok(models) => {
            for m in models {
                let ms = m.load_time.as_millis();
                let spec = m.model.spec();
                text.row([
                    "model",
                    &format!(
                        "{} ok: {} classes, loaded in {ms} ms",
                        m.name,
                        m.labels.len()
                    ),
                ]);
                text.row(["  precision", &spec.precision_reason]);
                text.row(["  operators", &operators(&spec.lowering)]);
            }
        }
        Err(e) => {
            healthy = false;
            text.row(["model", &format!("FAILED: {e:#}")]);
        }
    }
    print(&text.to_string())?;
    Ok(if healthy {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What `--isa` and `--precision` mean on this machine.
fn engine_words(options: &EngineOptions) -> String {
    let features = options.features;
    let isa = match (features.isa, features.bf16) {
        (Isa::Scalar, _) => "no instructions for operators of ours: tract's own serve".into(),
        _ => format!("instructions up to {}", features.name()),
    };
    let precision = match (options.precision, features.bf16) {
        (Some(precision), _) => format!("precision {}", precision.name()),
        (None, Some(_)) => "precision auto: bf16 where test images then get f32's answers".into(),
        (None, None) => "precision auto: f32, there is no bf16".into(),
    };
    format!("{isa}; {precision}")
}

/// The instruction sets that matter to inference, as the CPU and the system offer them.
#[cfg(target_arch = "x86_64")]
fn cpu_features() -> Vec<&'static str> {
    let mut found = Vec::new();
    macro_rules! look_for {
        ($($name:tt)*) => {$(
            if std::arch::is_x86_feature_detected!($name) {
                found.push($name);
            }
        )*};
    }
    look_for!("sse4.2" "avx" "f16c" "fma" "avx2" "avx512f" "avx512bw" "avx512vl" "avx512vnni" "avx512bf16");
    // std detects AMX only on nightly; the kernel lists it where a process may ask for it.
    let flags = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = flags.lines().find(|l| l.starts_with("flags")).unwrap_or("");
    found.extend(
        ["amx_tile", "amx_bf16", "amx_int8"]
            .into_iter()
            .filter(|f| flags.split(' ').any(|w| w == *f)),
    );
    found
}

/// The instruction sets that matter to inference, as the CPU and the system offer them.
#[cfg(not(target_arch = "x86_64"))]
fn cpu_features() -> Vec<&'static str> {
    vec!["those of the target"]
}
