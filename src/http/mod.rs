//! The HTTP protocol: routes, what their bodies mean, and how errors look.
//!
//! Called by `server` with each request; asks the `desk`. The only room that knows a status code. `routes` lists what
//! there is, `layers` what happens around each, `classify` is the one that does the work.

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
mod layers;
mod models;
mod observe;
mod oip;
mod page;
mod passage;
mod predictions;
mod received;
mod routes;
mod target;
mod upload;

pub(crate) use self::access::Work;
pub use self::answer::AnswerBody;
pub use self::client::Peer;
pub(crate) use self::client::client_id;
pub use self::error::{ApiError, Problem};
pub(crate) use self::layers::{guarded, observed_grpc};
pub use self::models::ModelBody;
pub(crate) use self::observe::OneOfMany;
pub(crate) use self::passage::{LARGE_TENSORS, Passage, told, whole};
pub use self::received::ReceivedBytes;
pub use self::routes::{admin_router, public_router, router};
pub use self::upload::UploadError;
