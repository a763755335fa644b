//! Tests through the real server, the real binary and the real decoders.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test stops at the first surprise, and some print what they measured"
)]

mod fake;
mod harness;
mod npy;
mod unharmed;

mod admission;
mod beside;
mod bytes;
mod classify;
mod cli;
mod clients;
mod colors;
mod configuration;
mod connections;
mod digests;
mod drain;
mod eval;
mod exchange;
mod explain;
mod exporters;
mod features;
mod formats;
mod grpc;
mod hostile;
mod http2;
mod ipv6;
mod keys;
mod limits;
mod links;
mod log;
mod lowering;
mod matrix;
mod metrics;
mod models;
mod not_square;
mod oip;
mod openapi;
mod overload;
mod page;
mod photos;
mod predictions;
mod preprocess;
mod proxies;
mod pull;
mod quantized;
mod readme;
mod requests;
mod smuggling;
mod timing;
mod tls;
mod traces;
mod versions;
mod webp;
