//! A server under requests that schemathesis makes of the document.
