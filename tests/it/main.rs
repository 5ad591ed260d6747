//! One integration binary. One module per promise; each module's first line says what belongs there.

mod access;
mod backups;
mod clients;
mod crash;
mod crowd;
mod destruction;
mod disk;
mod expiry;
mod expiry_crash;
mod hostile;
mod ingest;
mod listing;
mod live;
mod nonces;
mod playback;
mod refusals;
mod resumable;
mod retries;
mod secrecy;
mod stopping;
mod store_faults;
mod support;
mod tidy;
mod tus_clients;
mod walkthrough;
mod wav;
