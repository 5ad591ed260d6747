//! callvault.
pub mod crypto;
pub mod model;
