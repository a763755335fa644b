//! The room `batcher` as far as threads meet in it, with shuttle's locks in place of the standard library's.

#![allow(
    dead_code,
    unused_imports,
    reason = "the rooms have more than is tried here"
)]

#[path = "../../../src/fair_queue.rs"]
pub mod fair_queue;

pub mod batcher {
    #[path = "../../../../src/batcher/admission.rs"]
    pub mod admission;
    #[path = "../../../../src/batcher/backlog.rs"]
    mod backlog;
    #[path = "../../../../src/batcher/policy.rs"]
    pub mod policy;
    #[path = "../../../../src/batcher/queue.rs"]
    pub mod queue;
    #[path = "../../../../src/batcher/refusal.rs"]
    pub mod refusal;
    #[path = "../../../../src/batcher/service_time.rs"]
    mod service_time;

    /// In place of `src/batcher/sync.rs`.
    mod sync {
        pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
        pub(super) use std::sync::PoisonError;
    }

    pub mod scenes;
}
