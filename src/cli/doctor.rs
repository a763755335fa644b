//! `resnet doctor`: what this machine offers, what would be chosen here, and whether the models load.
//!
//! Prints facts in rows or as JSON; exit code 1 if something would keep `serve` from working.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::args::{ModelArgs, arithmetic};
use super::limits::LimitArgs;
use super::load::millis;
use super::output::print;
use super::show::operators;
use crate::classifier::ImageSize;
use crate::config::{CpuBudget, EngineConfig, MemoryRoom, ThreadPlan};
use crate::engine::EngineOptions;
use crate::registry::{self, Catalog, LoadedModel, ModelState, Store};
use crate::server::OpenFiles;
use crate::table::Table;
use kernels::Isa;

/// The flags of `resnet doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineConfig,
    #[command(flatten)]
    limits: LimitArgs,
}

/// What was found; also the JSON document, whose keys are only ever added.
#[derive(Serialize)]
struct Findings {
    version: &'static str,
    system: &'static str,
    architecture: &'static str,
    cpu_features: Vec<&'static str>,
    /// The instruction set of the kernels on pixels.
    pixel_kernels: &'static str,
    /// The highest instructions that the network may use.
    instructions: &'static str,
    /// The precision that was asked for; `null` for `auto`.
    precision: Option<&'static str>,
    /// Instructions and precision, in words for people.
    #[serde(skip)]
    engine: String,
    cpus: usize,
    cpus_reason: String,
    /// The cgroup's limit; `null` without one.
    memory_limit_bytes: Option<u64>,
    /// The machine's memory; `null` where the system does not tell.
    machine_memory_bytes: Option<u64>,
    /// Most that `serve` would hold with these flags; `null` if a model cannot be served.
    memory_bound_bytes: Option<u64>,
    /// The limit, the machine's memory and the bound, in words for people.
    #[serde(skip)]
    memory: Option<String>,
    /// The limits of open files; `null` without one. `serve` raises the soft one to the hard one.
    open_files_soft: Option<u64>,
    open_files_hard: Option<u64>,
    /// Most connections that `serve` would have with these flags and limits.
    connections_allowed: u64,
    /// Both limits of open files and the connections, in words for people.
    #[serde(skip)]
    open_files: String,
    threads: Threads,
    store: Option<Pulled>,
    /// Why there is no store.
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
    /// The models that would be served; none if one of them cannot be.
    models: Vec<Checked>,
    /// Why the models cannot be served.
    error: Option<String>,
}

#[derive(Serialize)]
struct Threads {
    http: usize,
    prep: usize,
    engine: usize,
    /// Most threads on one inference.
    per_worker: usize,
}

/// The models directory.
#[derive(Serialize)]
struct Pulled {
    dir: String,
    models: Vec<String>,
}

/// A model that loads.
#[derive(Serialize)]
struct Checked {
    name: String,
    classes: usize,
    load_ms: u64,
    precision: &'static str,
    precision_reason: String,
    instructions: String,
    /// For people.
    #[serde(skip)]
    operators: String,
    #[serde(skip)]
    images: ImageSize,
}

/// Runs the checks.
///
/// # Errors
/// If a flag asks for what this CPU lacks or contradicts another, or standard output fails.
pub(crate) fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    args.limits.check()?;
    let findings = Findings::of(args)?;
    print(&match args.json {
        true => serde_json::to_string_pretty(&findings)? + "\n",
        false => findings.text(),
    })?;
    Ok(match findings.error {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    })
}

impl Findings {
    fn of(args: &DoctorArgs) -> anyhow::Result<Findings> {
        let budget = CpuBudget::detect();
        let threads = args.engine.threads(&budget);
        let ThreadPlan {
            http,
            prep,
            engine,
            per_worker,
        } = threads;
        let options = arithmetic::engine_options(&args.engine, &budget)?;
        let (store, store_error) = match args.model.store.needed_store() {
            Ok(store) => (Some(Pulled::of(&store)), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let (models, error) = match load_all(&args.model, &options) {
            Ok(models) => (models, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        let sizes: Vec<ImageSize> = models.iter().map(|model| model.images).collect();
        let room = MemoryRoom::detect();
        let memory = args.limits.memory(&sizes, &args.engine, threads, room);
        let memory = error.is_none().then_some(memory);
        let files = OpenFiles::limits();
        Ok(Findings {
            version: super::version(),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            cpu_features: cpu_features(),
            pixel_kernels: options.features.isa.name(),
            instructions: options.features.name(),
            precision: options.precision.map(|precision| precision.name()),
            engine: engine_words(&options),
            cpus: budget.cpus,
            cpus_reason: budget.reason(),
            memory_limit_bytes: room.cgroup,
            machine_memory_bytes: room.machine,
            memory_bound_bytes: memory.as_ref().map(|memory| memory.bound),
            memory: memory.map(|memory| memory.to_string()),
            open_files_soft: files.soft,
            open_files_hard: files.hard,
            connections_allowed: args.limits.connections_allowed(&files),
            open_files: args.limits.open_files(&files),
            threads: Threads {
                http,
                prep,
                engine,
                per_worker,
            },
            store,
            store_error,
            models,
            error,
        })
    }

    /// Rows for people.
    fn text(&self) -> String {
        let mut text = Table::of_pairs(14);
        text.row(["version", self.version]);
        let system = format!("{} on {}", self.system, self.architecture);
        text.row(["system", &system]);
        text.row(["cpu features", &self.cpu_features.join(" ")]);
        text.row(["pixel kernels", self.pixel_kernels]);
        text.row(["engine", &self.engine]);
        text.row(["cpus", &format!("{} ({})", self.cpus, self.cpus_reason)]);
        text.row(["open files", &self.open_files]);
        let Threads {
            http,
            prep,
            engine,
            per_worker,
        } = self.threads;
        let threads = format!(
            "{http} http, {prep} prep, {engine} engine, up to {per_worker} on one inference"
        );
        text.row(["threads", &threads]);
        let store = match (&self.store, &self.store_error) {
            (Some(Pulled { dir, models }), _) if models.is_empty() => {
                format!("{dir}: no pulled model")
            }
            (Some(Pulled { dir, models }), _) => format!("{dir}: {}", models.join(", ")),
            (None, error) => format!("none: {}", error.as_deref().unwrap_or_default()),
        };
        text.row(["store", &store]);
        if let Some(memory) = &self.memory {
            text.row(["memory", memory]);
        }
        for model in &self.models {
            let Checked {
                name,
                classes,
                load_ms,
                ..
            } = model;
            text.row([
                "model",
                &format!("{name} ok: {classes} classes, loaded in {load_ms} ms"),
            ]);
            text.row(["  precision", &model.precision_reason]);
            text.row(["  operators", &model.operators]);
        }
        if let Some(error) = &self.error {
            text.row(["model", &format!("FAILED: {error}")]);
        }
        text.to_string()
    }
}

impl Pulled {
    fn of(store: &Store) -> Pulled {
        let catalog = Catalog::builtin();
        let present = |e: &&registry::CatalogEntry| {
            matches!(store.state_of(e), Ok(ModelState::Present { .. }))
        };
        let entries = catalog.entries().iter().filter(present);
        Pulled {
            dir: store.dir().display().to_string(),
            models: entries.map(|e| e.name.clone()).collect(),
        }
    }
}

impl Checked {
    fn new(model: &LoadedModel) -> Checked {
        let spec = model.model.spec();
        Checked {
            name: model.name.clone(),
            classes: model.labels.len(),
            load_ms: millis(model.load_time),
            precision: spec.precision.name(),
            precision_reason: spec.precision_reason.clone(),
            instructions: spec.instructions.clone(),
            operators: operators(&spec.lowering),
            images: ImageSize::of(model),
        }
    }
}

/// Loads the models as `serve` would; each is gone again before the next.
fn load_all(models: &ModelArgs, options: &EngineOptions) -> anyhow::Result<Vec<Checked>> {
    let references = models.references()?;
    let check = |reference| Ok(Checked::new(&registry::load(reference, options)?));
    references.iter().map(check).collect()
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
