//! `resnet serve`: listen, load, say when ready, stop in order.
//!
//! Binds before it loads, so that a second server on the same port fails at once, and a probe sees "not ready".

mod access;
mod plan;
mod traces;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, bail};
use clap::Args;
use tokio::sync::oneshot;

use self::plan::{LoadPlan, ServePlan};
use super::args::{LogArgs, LogSample, ModelArgs};
use super::load::{self, millis};
use super::signals::{SAME_SIGNAL, Signals};
use crate::classifier::Classifier;
use crate::config::{
    AccessConfig, CpuBudget, EngineConfig, ImageConfig, MemoryRoom, RequestConfig, ServerConfig,
    ThreadPlan,
};
use crate::desk::Desk;
use crate::metrics::Metrics;
use crate::registry::{ModelOrigin, ModelRef};
use crate::repository::Names;
use crate::server::{Drained, Server};

/// The flags of `resnet serve`.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    server: ServerConfig,
    #[command(flatten)]
    access: AccessConfig,
    #[command(flatten)]
    images: ImageConfig,
    #[command(flatten)]
    requests: RequestConfig,
    #[command(flatten)]
    engine: EngineConfig,
    #[command(flatten)]
    log: LogArgs,
    /// Share of the requests without a problem whose lines are logged; refusals and errors always are
    #[arg(
        long,
        env = "RESNET_LOG_SAMPLE",
        default_value = "1",
        value_name = "SHARE",
        allow_hyphen_values = true,
        help_heading = "Logging"
    )]
    log_sample: LogSample,
}

impl ServeArgs {
    /// Whether the log is for programs, and with it an error at the start.
    pub(crate) fn is_json(&self) -> bool {
        self.log.is_json()
    }
}

/// Runs the server until a signal; exit code 0 if no accepted request was lost. The log begins with `warnings`.
///
/// # Errors
/// If it cannot listen or a model cannot be served.
pub(crate) fn run(args: &ServeArgs, warnings: &[String]) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    args.log.install("info", args.log_sample)?;
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let budget = CpuBudget::detect();
    let threads = args.engine.threads(&budget);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.http)
        .thread_name("http")
        .enable_all()
        .build()
        .context("cannot start the http threads")?;
    step_back();
    let plan = ServePlan::resolve(args, &budget, threads)?;
    let metrics = Arc::new(Metrics::new());
    announce_threads(&budget, threads, &metrics);
    metrics
        .build_info
        .with_label_values(&[env!("CARGO_PKG_VERSION"), env!("RESNET_COMMIT")])
        .set(1);

    runtime.block_on(serve(plan, metrics, started))
}

/// How far the threads that compute stand back behind those that serve sockets: where CPUs are short, one of the latter
/// counts as much as three of the former.
const COMPUTE_NICE: i32 = 5;

/// Lowers the priority of this thread and of all that it will start. A refusal must not wait for a CPU behind the work
/// that is the reason for it.
fn step_back() {
    #[cfg(target_os = "linux")] // elsewhere priorities are those of processes
    if let Err(error) = rustix::process::setpriority_process(None, COMPUTE_NICE) {
        tracing::debug!(%error, "computing has the same priority as serving");
    }
}

/// Exit code of a server that gave up on itself: `EX_SOFTWARE` of sysexits.h. Whoever supervises it should start
/// another.
const EXIT_FAILED_INSIDE: u8 = 70;

async fn serve(
    plan: ServePlan,
    metrics: Arc<Metrics>,
    started: Instant,
) -> anyhow::Result<ExitCode> {
    let ServePlan {
        address,
        admin_address,
        grpc_address,
        server: options,
        limits,
        access,
        trusted_proxies,
        memory,
        traces,
        load,
    } = plan;
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let protocols: &[&str] = match options.http2 {
        true => &["h2", "http/1.1"],
        false => &["http/1.1"],
    };
    let tls = access.tls(protocols)?.map(Arc::new);
    let server = Server::bind(address, options)
        .map_err(|e| cannot_listen(&e, address, "--port", "--host"))?;
    let server = match admin_address {
        Some(address) => server
            .with_admin(address)
            .map_err(|e| cannot_listen(&e, address, "--admin-address", "--admin-address"))?,
        None => server,
    };
    let grpc_tls = match grpc_address {
        Some(_) => access.tls(&["h2"])?.map(Arc::new),
        None => None,
    };
    let server = match grpc_address {
        Some(address) => server
            .with_grpc(address, grpc_tls.clone())
            .map_err(|e| cannot_listen(&e, address, "--grpc-port", "--host"))?,
        None => server,
    };
    let server = server.with_tls(tls.clone());
    let host = address.ip();
    let address = server.address().context("cannot tell the address")?;
    if let Some(address) = server.admin_address().context("cannot tell the address")? {
        tracing::info!(admin_address = %format_args!("http://{address}"), "metrics and health");
    }
    if let Some(address) = server.grpc_address().context("cannot tell the address")? {
        tracing::info!(grpc_address = %address, tls = grpc_tls.is_some(), "gRPC");
    }
    let desk = Desk::new(Arc::clone(&metrics), limits, trusted_proxies);
    if let Some(tracer) = traces::start(traces.as_ref())? {
        desk.set_tracer(tracer);
    }
    match access.keys()? {
        Some(keys) => desk.set_keys(keys),
        None if !host.is_loopback() => tracing::info!(
            "no API keys are set and --host is {host}: whoever reaches the port may use this server; --api-keys-file locks it"
        ),
        None => {}
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let certificates = tls.into_iter().chain(grpc_tls).collect();
    access.reload_on_hangup(Arc::clone(&desk), certificates)?;
    let (stop, stopped) = oneshot::channel::<()>();
    let mut serving = tokio::spawn(server.run(Arc::clone(&desk), async move {
        let _ = stopped.await; // dropping the sender stops too
    }));

    // A signal while loading ends the process at once: nothing has been accepted that could be lost.
    let classifier = tokio::select! {
        loaded = load_models(load, &desk, &metrics) => loaded?,
        _ = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    let bound = memory.bound(classifier.images_memory(), MemoryRoom::detect());
    bound.announce();
    desk.set_classifier(classifier);
    tracing::info!(
        address = %format_args!("{scheme}://{address}"),
        startup_ms = millis(started.elapsed()),
        "ready; try: curl -T photo.jpg {scheme}://{address}/classify"
    );

    let first = tokio::select! {
        signal = signals.next() => Some(signal),
        () = desk.failed() => None,
        _ = &mut serving => bail!("the server stopped unexpectedly; the log has the reason"),
    };
    match first {
        Some(signal) => tracing::info!(
            signal = signal.name(),
            "stopping; a second signal ends at once"
        ),
        None => tracing::error!("stopping, because the engine threads have failed"),
    }
    drop(signals);
    tokio::spawn(async move {
        // Some senders reach a process twice, directly and through its group; a person's second signal comes later.
        tokio::time::sleep(SAME_SIGNAL).await;
        let Ok(mut signals) = Signals::new() else {
            return;
        };
        let second = signals.next().await;
        tracing::warn!(
            signal = second.name(),
            in_flight = metrics.requests_in_flight.get(),
            "ended by a second signal"
        );
        std::process::exit(second.exit_code().into());
    });
    drop(stop);
    let drained = serving.await.context("the server stopped unexpectedly")?;
    if let Some(tracer) = desk.tracer() {
        tracer.finish(traces::FINISH);
    }
    match drained {
        _ if first.is_none() => Ok(ExitCode::from(EXIT_FAILED_INSIDE)),
        Drained::Clean => {
            tracing::info!("stopped; every accepted request was answered");
            Ok(ExitCode::SUCCESS)
        }
        Drained::TimedOut { lost } => {
            bail!(
                "stopped after --shutdown-timeout {} s; requests lost: {lost}",
                options.shutdown_timeout.as_secs_f64()
            )
        }
    }
}

fn cannot_listen(
    error: &std::io::Error,
    address: SocketAddr,
    port_flag: &str,
    host_flag: &str,
) -> anyhow::Error {
    let hint = match error.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("; is another server running? choose another port with {port_flag}")
        }
        std::io::ErrorKind::PermissionDenied => {
            format!("; ports below 1024 need privileges, choose another with {port_flag}")
        }
        std::io::ErrorKind::AddrNotAvailable => {
            format!("; {host_flag} must be an address of this machine")
        }
        _ => String::new(),
    };
    anyhow::anyhow!("cannot listen on {address}: {error}{hint}")
}

/// Loads on a thread of its own, so that probes are answered meanwhile; the desk can exchange the models from then on.
async fn load_models(
    plan: LoadPlan,
    desk: &Arc<Desk>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Classifier> {
    for reference in &plan.references {
        if let ModelOrigin::Builtin(model) = reference.source {
            tracing::info!(
                "{} is built in: {}. For ResNet-50: resnet pull resnet50 && resnet serve --model resnet50",
                model.name,
                model.description
            );
        }
    }
    let LoadPlan {
        references,
        store,
        catalog,
        model_control,
        engine,
        classifier,
    } = plan;
    let (known, place) = (catalog.clone(), store.clone());
    let list = Box::new(move || {
        let names = place
            .as_ref()
            .map(|store| ModelRef::names_in_store(&known, store));
        names.unwrap_or_default()
    });
    let names = Names {
        find: Box::new(move |name: &str| ModelRef::in_store(name, &catalog, store.as_ref())),
        list,
    };
    let repository = Arc::new(load::repository(engine, classifier, names, metrics));
    desk.set_repository(Arc::clone(&repository), model_control);
    let (send, receive) = oneshot::channel();
    let load = move || {
        // The receiver is gone if a signal came first.
        let _ = send.send(repository.start(references));
    };
    std::thread::Builder::new()
        .name("load".into())
        .spawn(load)
        .context("cannot start a thread")?;
    let loaded = receive.await;
    Ok(loaded.context("loading panicked; the log has the reason")??)
}

fn announce_threads(budget: &CpuBudget, threads: ThreadPlan, metrics: &Metrics) {
    let ThreadPlan {
        http,
        prep,
        engine,
        per_worker,
    } = threads;
    tracing::info!(
        cpus = budget.cpus,
        because = budget.reason(),
        http,
        prep,
        engine,
        per_worker,
        "threads"
    );
    for (pool, count) in [("http", http), ("prep", prep), ("engine", engine)] {
        metrics
            .threads
            .with_label_values(&[pool])
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }
}
