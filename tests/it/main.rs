//! One integration binary. One module per promise; each module's first line says what belongs there.

mod backups;
mod crash;
mod destruction;
mod disk;
mod expiry;
mod expiry_crash;
mod secrecy;
mod store_faults;
mod support;
mod tidy;
mod walkthrough;
