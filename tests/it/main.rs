//! One integration binary. One module per promise; each module's first line says what belongs there.

mod access;
mod clients;
mod hostile;
mod ingest;
mod listing;
mod playback;
mod refusals;
mod retries;
mod stopping;
mod support;
mod tidy;
mod walkthrough;
