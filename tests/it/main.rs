//! Tests through the real server, the real binary and the real decoders.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod harness;

mod classify;
mod cli;
mod drain;
mod hostile;
mod metrics;
mod models;
mod overload;
mod photos;
mod pull;
