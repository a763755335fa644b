//! What `resnet serve` is to do, resolved once from its flags.
//!
//! Made by `serve` at the start; from then on nobody asks the flags.

use std::net::SocketAddr;

use super::ServeArgs;
use super::access::Access;
use super::traces;
use crate::classifier::ClassifierOptions;
use crate::cli::args::arithmetic;
use crate::cli::limits::refuse_contradictions;
use crate::cli::load;
use crate::cli::memory_bound::MemoryLimits;
use crate::config::{CpuBudget, ThreadPlan};
use crate::desk::{RequestLimits, TrustedProxies};
use crate::engine::EngineOptions;
use crate::registry::{Catalog, ModelRef, Store};
use crate::server::ServerOptions;
use crate::traces::ExportOptions;

/// What the server listens on, lets in and loads.
pub(super) struct ServePlan {
    /// The address for clients.
    pub(super) address: SocketAddr,
    /// The address for metrics, if it is another one.
    pub(super) admin_address: Option<SocketAddr>,
    /// The address for gRPC, if it is spoken.
    pub(super) grpc_address: Option<SocketAddr>,
    pub(super) server: ServerOptions,
    pub(super) limits: RequestLimits,
    pub(super) access: Access,
    pub(super) trusted_proxies: TrustedProxies,
    pub(super) memory: MemoryLimits,
    /// Where traces go, if they are exported.
    pub(super) traces: Option<ExportOptions>,
    pub(super) load: LoadPlan,
}

/// What is loaded, and how it is to run.
pub(super) struct LoadPlan {
    pub(super) references: Vec<ModelRef>,
    /// The directory of the models that clients may name.
    pub(super) store: Option<Store>,
    pub(super) catalog: Catalog,
    /// Whether clients may exchange models.
    pub(super) model_control: bool,
    pub(super) engine: EngineOptions,
    pub(super) classifier: ClassifierOptions,
}

impl ServePlan {
    /// Resolves the flags; starts the threads that help an inference.
    ///
    /// # Errors
    /// Flags that contradict each other or this machine, models and keys that are not there.
    pub(super) fn resolve(
        args: &ServeArgs,
        budget: &CpuBudget,
        threads: ThreadPlan,
    ) -> anyhow::Result<ServePlan> {
        let ServeArgs {
            model,
            server,
            access,
            images,
            requests,
            engine,
            ..
        } = args;
        refuse_contradictions(server, images, requests)?;
        let trusted_proxies = TrustedProxies::new(access.trusted_proxies.clone());
        let access = Access::new(access)?;
        let engine_options = arithmetic::engine_options(engine, budget)?;
        let isa = engine_options.features.isa;
        let traces = traces::options()?;
        Ok(ServePlan {
            address: SocketAddr::new(server.host, server.port),
            admin_address: server.admin_address,
            grpc_address: server
                .grpc_port
                .map(|port| SocketAddr::new(server.host, port)),
            server: ServerOptions {
                max_connections: server.max_connections,
                header_timeout: server.header_timeout,
                idle_timeout: server.idle_timeout,
                write_timeout: server.write_timeout,
                http2: server.http2,
                shutdown_delay: server.shutdown_delay,
                shutdown_timeout: server.shutdown_timeout,
            },
            limits: RequestLimits {
                max_body_bytes: requests.max_body_bytes,
                max_images: requests.max_images,
                body_timeout: requests.body_timeout,
                request_timeout: requests.request_timeout,
                max_memory_wait: requests.max_queue_wait,
                min_upload_rate: requests.min_upload_rate,
                body_memory_bytes: requests.body_memory_bytes(),
            },
            access,
            trusted_proxies,
            memory: MemoryLimits::new(server, images, requests).with_traces(traces.as_ref()),
            traces,
            load: LoadPlan {
                references: model.references()?,
                store: model.store.store()?,
                catalog: Catalog::builtin(),
                model_control: server.model_control,
                classifier: ClassifierOptions {
                    queue_capacity: requests.queue_capacity,
                    max_queue_wait: requests.max_queue_wait,
                    stuck_after: requests.watchdog_timeout,
                    ..load::classifier_options(engine, images, threads, isa)
                },
                engine: engine_options,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::preprocess::ImageOptions;

    #[derive(Parser)]
    struct Serve {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn plan(flags: &[&str]) -> ServePlan {
        let Serve { args } = Serve::try_parse_from([&["serve"], flags].concat()).expect("flags");
        let budget = CpuBudget::detect();
        let threads = args.engine.threads(&budget);
        ServePlan::resolve(&args, &budget, threads).expect("a plan")
    }

    #[test]
    fn flags_and_rooms_have_the_same_defaults() {
        let plan = plan(&["--shutdown-delay", "0s"]);
        let text = |value: &dyn std::fmt::Debug| format!("{value:?}");
        assert_eq!(text(&plan.server), text(&ServerOptions::default()));
        assert_eq!(text(&plan.limits), text(&RequestLimits::default()));
        let images = &plan.load.classifier.images;
        assert_eq!(text(images), text(&ImageOptions::default()));
    }

    #[test]
    fn body_that_is_allowed_fits_into_the_memory_for_bodies() {
        let plan = plan(&["--max-body-bytes", "300MiB"]);
        assert_eq!(plan.limits.body_memory_bytes, 300 << 20);
    }
}
