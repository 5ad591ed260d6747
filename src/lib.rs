//! callvault.
pub mod catalog;
pub mod crypto;
pub mod model;
