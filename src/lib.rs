//! callvault.
pub mod app;
pub mod catalog;
pub mod cli;
pub mod config;
pub mod crypto;
pub mod expire;
pub mod http;
pub mod ingest;
pub mod keyring;
pub mod model;
pub mod playback;
pub mod reading;
pub mod spool;
pub mod store;
pub mod telemetry;
