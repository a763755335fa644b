//! The HTTP protocol: routes, what their bodies mean, and how errors look.
//!
//! Called by `server` with each request; asks the `desk`. The only room that knows a status code. `routes` lists what
//! there is, `layers` what happens around each, `classify` is the one that does the work.

mod accept;
mod access;
mod answer;
mod auth;
mod body;
mod classify;
mod client;
mod deadline;
mod error;
mod forwarded;
mod framing;
mod health;
mod inference;
mod kind;
mod layers;
mod metrics;
mod models;
mod observe;
mod oip;
mod openapi;
mod page;
mod passage;
mod predictions;
mod query;
mod received;
mod route;
mod routes;
mod span;
mod target;
mod upload;
mod wishes;

pub(crate) use self::access::{TARGET as ACCESS_TARGET, Work};
pub use self::answer::AnswerBody;
pub use self::client::Peer;
pub(crate) use self::client::client_id;
pub use self::error::{ApiError, Problem};
pub(crate) use self::inference::{Inference, LARGE_TENSORS, request as inference_request};
pub(crate) use self::layers::{guarded, observed_grpc};
pub use self::models::ModelBody;
pub(crate) use self::observe::{CountedAs, OneOfMany};
pub(crate) use self::passage::{Passage, told};
pub use self::received::ReceivedBytes;
pub(crate) use self::route::{Purpose, Purposes};
pub use self::routes::{admin_router, public_router, router};
pub(crate) use self::span::RpcStatus;
pub use self::upload::UploadError;
