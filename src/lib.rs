//! Serves pretrained ResNets on CPUs: a photo comes in over HTTP, ImageNet classes go out.
//!
//! # The way of one request
//!
//! 1. [`server`] accepts the connection and gives its head a deadline.
//! 2. [`http`] gives the request an id and finds model and options; the [`desk`] takes a place in the queue for it and
//!    reads the body, in which [`http`] finds the images: raw, multipart or base64.
//! 3. [`classifier`] sends each image to a `prep-N` thread, where [`preprocess`] decodes, resizes, crops and normalizes
//!    it into a [`tensor`]; the inner loops are those of [`kernels`].
//! 4. [`batcher`] queues the tensor; a free `engine-N` thread takes its share of what waits and runs it through
//!    [`engine`].
//! 5. [`postprocess`] ranks the output, [`registry`]'s labels name the classes, and [`http`] writes the JSON.
//!
//! Imports only point down the table of rooms in `docs/ARCHITECTURE.md`, which is the same on one page; `tests/tidy.rs`
//! keeps it so.

#![forbid(unsafe_code)]

#[macro_use]
mod faults;

pub mod cli;

pub mod eval;
pub mod quantize;

pub mod server;

pub mod grpc;
pub mod http;

pub mod oip;

pub mod overlay;

pub mod desk;

pub mod repository;

pub mod classifier;

pub mod batcher;
pub mod postprocess;
pub mod preprocess;
pub mod registry;

pub mod engine;
pub mod ops;

pub mod base64;
pub mod config;
pub mod fair_queue;
pub mod heartbeat;
pub mod hex;
pub mod metrics;
pub mod network;
pub mod npy;
pub mod table;
pub mod tensor;
pub mod traces;
pub mod visible;
