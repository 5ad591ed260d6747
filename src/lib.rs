//! callvault.
pub mod catalog;
pub mod crypto;
pub mod keyring;
pub mod model;
pub mod reading;
pub mod spool;
pub mod store;
