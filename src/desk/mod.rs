//! The front desk: what a request passes before and around its images, whatever protocol brought it.
//!
//! Called by the protocols, `http` and `grpc`; calls `classifier`. Knows no status code and no header. The order is:
//! the caller is told by its key or address ([`Desk::client`]), the model is found ([`Desk::model`]), the first image's
//! place is taken ([`Desk::admit`]), the body is read within its limits ([`Admitted::read`]), the other images' places
//! are taken ([`Admitted::admit_all`]), and the images are classified ([`Admitted::classify`]). A caller without a
//! place is told so at once, or later if it asks again and again ([`Desk::refusal_delay`]).

mod admitted;
mod answer_memory;
mod body;
mod body_memory;
mod client;
mod code;
mod deadline;
mod error;
mod keys;
mod limits;
mod proxies;
mod readiness;
mod refusal_pace;
mod text;

use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{oneshot, watch};

use crate::classifier::{
    self, ActiveClassifier, Classifier, Health, ServedModel, SharedClassifier,
};
use crate::fair_queue::ClientId;
use crate::metrics::Metrics;
use crate::repository::{Change, Repository};
use crate::traces::Tracer;

pub use self::admitted::{Admitted, Answered, InferRequest, or_expired};
pub use self::answer_memory::AnswerMemory;
pub use self::body::HeldBody;
pub use self::code::Code;
pub use self::deadline::{Deadline, parse_patience};
pub use self::error::DeskError;
pub use self::keys::{KeyName, KeySet, KeysError};
pub use self::limits::RequestLimits;
pub use self::proxies::TrustedProxies;
pub use self::readiness::Readiness;
pub use self::text::cut;

use self::body_memory::BodyMemory;
use self::refusal_pace::RefusalPace;

/// Where the models come from, and whether clients may exchange them.
#[derive(Debug)]
struct Exchange {
    repository: Arc<Repository>,
    by_clients: bool,
}

/// What all requests share.
#[derive(Debug)]
pub struct Desk {
    classifier: ActiveClassifier,
    repository: OnceLock<Exchange>,
    draining: AtomicBool,
    readiness: watch::Sender<Readiness>,
    metrics: Arc<Metrics>,
    limits: RequestLimits,
    trusted_proxies: TrustedProxies,
    body_memory: BodyMemory,
    refusal_pace: RefusalPace,
    client_seed: RandomState,
    keys: RwLock<Option<Arc<KeySet>>>,
    tracer: OnceLock<Tracer>,
}

impl Desk {
    /// A desk that is alive, but has no models yet.
    #[must_use]
    pub fn new(
        metrics: Arc<Metrics>,
        limits: RequestLimits,
        trusted_proxies: TrustedProxies,
    ) -> Arc<Desk> {
        let most = i64::try_from(limits.body_memory_bytes).unwrap_or(i64::MAX);
        metrics.body_memory_max.set(most);
        Arc::new(Desk {
            classifier: ActiveClassifier::default(),
            repository: OnceLock::new(),
            draining: AtomicBool::new(false),
            readiness: watch::Sender::new(Readiness::Loading),
            metrics,
            limits,
            trusted_proxies,
            body_memory: BodyMemory::new(limits.body_memory_bytes),
            refusal_pace: RefusalPace::new(),
            client_seed: RandomState::new(),
            keys: RwLock::new(None),
            tracer: OnceLock::new(),
        })
    }

    /// The instruments in which the server counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Sets the tracer that records requests from now on. The first call counts.
    pub fn set_tracer(&self, tracer: Tracer) {
        let _ = self.tracer.set(tracer);
    }

    /// The tracer that records requests; none where no traces are exported.
    pub fn tracer(&self) -> Option<&Tracer> {
        self.tracer.get()
    }

    /// What one request may cost.
    pub fn limits(&self) -> &RequestLimits {
        &self.limits
    }

    /// Bytes of bodies that are held now.
    pub fn body_memory_in_use(&self) -> u64 {
        self.body_memory.in_use()
    }

    /// The proxies whose word on a client's address is taken.
    pub fn trusted_proxies(&self) -> &TrustedProxies {
        &self.trusted_proxies
    }

    /// Puts a warmed-up classifier in charge; from the first one on the server is ready. Requests under way keep the
    /// one that they have.
    pub fn set_classifier(&self, classifier: Classifier) {
        self.classifier.replace(classifier);
        self.readiness.send_if_modified(Readiness::load);
    }

    /// From now on models can be exchanged: those of `repository`, which have been started; by clients only if they may.
    /// The first call counts.
    pub fn set_repository(&self, repository: Arc<Repository>, by_clients: bool) {
        let _ = self.repository.set(Exchange {
            repository,
            by_clients,
        });
    }

    /// Exchanges models; whether there was anything to change. Waits as long as loading takes.
    ///
    /// # Errors
    /// [`DeskError::Repository`]: then nothing has changed; [`DeskError::NotReady`] before the first models are there.
    pub fn change_models(&self, change: &Change) -> Result<bool, DeskError> {
        let Exchange { repository, .. } = self.repository.get().ok_or(DeskError::NotReady)?;
        let put = |classifier| self.set_classifier(classifier);
        let before = self.classifier.get();
        Ok(repository.change(change, before.as_ref().map(|before| &***before), put)?)
    }

    /// Exchanges models for a client, on a thread of its own.
    ///
    /// # Errors
    /// As of [`Desk::change_models`], and [`DeskError::ModelsFixed`] if clients may not.
    pub async fn change_models_for_client(
        self: &Arc<Self>,
        change: Change,
    ) -> Result<bool, DeskError> {
        if self.is_draining() {
            return Err(DeskError::ShuttingDown);
        }
        self.classifier()?;
        if !self.repository.get().is_some_and(|r| r.by_clients) {
            return Err(DeskError::ModelsFixed);
        }
        let (tell, told) = oneshot::channel();
        let desk = Arc::clone(self);
        let span = tracing::Span::current();
        let exchange = move || {
            let changed = span.in_scope(|| desk.change_models(&change));
            let (model, change) = (change.model(), change.verb());
            match &changed {
                Ok(_) => tracing::info!(change, model, "models exchanged"),
                Err(error) => {
                    tracing::warn!(change, model, %error, "the models stay what they are");
                }
            }
            let _ = tell.send(changed); // fails if the client has gone
        };
        let thread = std::thread::Builder::new().name("load".into());
        thread.spawn(exchange).map_err(|_| DeskError::Panicked)?;
        told.await.map_err(|_| DeskError::Panicked)?
    }

    /// The names of the models that can be loaded, whether they are served or not; some may be there twice. Directories
    /// are read on a prep thread, in the turn of this client.
    ///
    /// # Errors
    /// [`DeskError::NotReady`] until the models are loaded, [`DeskError::Panicked`].
    pub async fn known_models(&self, client: ClientId) -> Result<Vec<String>, DeskError> {
        let classifier = self.classifier()?;
        let Some(Exchange { repository, .. }) = self.repository.get() else {
            return Ok(Vec::new());
        };
        let repository = Arc::clone(repository);
        let known = classifier.compute(client, move || repository.known());
        known.await.map_err(|_| DeskError::Panicked)
    }

    /// Waits until the engine threads of the models in charge have failed.
    pub async fn failed(&self) {
        loop {
            let Some(classifier) = self.classifier.get() else {
                return std::future::pending().await;
            };
            let mut health = classifier.health();
            drop(classifier);
            // An error says that these models have been replaced.
            if health
                .wait_for(|health| *health == Health::Failed)
                .await
                .is_ok()
            {
                return;
            }
        }
    }

    /// From now on the server is not ready, and asks its clients to reconnect elsewhere.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.readiness.send_replace(Readiness::Draining);
    }

    /// Whether the server is to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether requests are taken, now and in the future.
    pub fn readiness(&self) -> watch::Receiver<Readiness> {
        self.readiness.subscribe()
    }

    /// Whether requests are taken.
    pub fn is_ready(&self) -> bool {
        *self.readiness.borrow() == Readiness::Ready
    }

    /// Waits until the server is to stop.
    pub async fn draining(&self) {
        let draining = |readiness: &Readiness| *readiness == Readiness::Draining;
        let _ = self.readiness.subscribe().wait_for(draining).await; // the sender is here
    }

    /// Reads a body whose model only the body tells, before any place is taken.
    ///
    /// # Errors
    /// As of [`Admitted::read`].
    pub async fn read<E>(
        &self,
        client: ClientId,
        deadline: &Deadline,
        announced: Option<u64>,
        chunks: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<HeldBody, DeskError> {
        let share = self.body_memory.share(client);
        let reading = body::read(announced, chunks, &self.limits, share);
        or_expired(deadline.client(), reading).await?
    }

    /// From now on only these keys open the server; before the first call it is open to everyone.
    pub fn set_keys(&self, keys: KeySet) {
        let mut held = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        *held = Some(Arc::new(keys));
    }

    /// The keys that open the server; none where it is open to everyone.
    pub fn keys(&self) -> Option<Arc<KeySet>> {
        let held = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        held.clone()
    }

    /// Whose request it is, for a fair share: the API key's name, else the address it comes from.
    pub fn client(&self, key: Option<&KeyName>, address: Option<IpAddr>) -> ClientId {
        client::client_id(key, address, &self.client_seed)
    }

    /// The classifier for one request, to its end.
    ///
    /// # Errors
    /// [`DeskError::NotReady`] until the models are loaded.
    pub fn classifier(&self) -> Result<Arc<SharedClassifier>, DeskError> {
        self.classifier.get().ok_or(DeskError::NotReady)
    }

    /// The model of this name, the default one without a name; of the version that is asked for, else the newest.
    ///
    /// # Errors
    /// [`DeskError::UnknownModel`], [`DeskError::UnknownVersion`].
    pub fn model(
        &self,
        classifier: &Classifier,
        name: Option<&str>,
        version: Option<&str>,
    ) -> Result<Arc<ServedModel>, DeskError> {
        // A version that is none is of no model.
        let number = match version {
            None | Some("") => Some(None),
            Some(text) => classifier::version_of(text).map(Some),
        };
        let found = number.and_then(|number| classifier.model(name, number));
        if let Some(model) = found {
            return Ok(Arc::clone(model));
        }
        let default = || classifier.models()[0].info.base_name();
        let asked = name.unwrap_or_else(default);
        let (base, written) = classifier::split_version(asked);
        let versions = classifier.versions(base);
        let list = |parts: Vec<String>| parts.join(", ");
        Err(match versions.is_empty() {
            true => {
                let names = classifier.models().iter().map(|m| m.info.name.clone());
                DeskError::UnknownModel {
                    name: cut(asked),
                    served: list(names.collect()),
                }
            }
            false => DeskError::UnknownVersion {
                model: cut(base),
                version: match (written, version) {
                    (Some(written), Some(asked)) => format!("{written}, {}", cut(asked)),
                    (Some(written), None) => written.to_string(),
                    (None, asked) => cut(asked.unwrap_or_default()),
                },
                served: list(versions.iter().map(u32::to_string).collect()),
            },
        })
    }
}
