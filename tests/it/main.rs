//! Tests through the real server, the real binary and the real decoders.

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
