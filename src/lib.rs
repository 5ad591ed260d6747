//! callvault.
pub mod catalog;
pub mod crypto;
pub mod expire;
pub mod ingest;
pub mod keyring;
pub mod model;
pub mod playback;
pub mod reading;
pub mod spool;
pub mod store;
