//! Layer 4: HTTP. Requests become verbs, results become answers; nothing is decided in here but who may ask.
//!
//! | file | what it holds |
//! |---|---|
//! | [`serve`] | the accept loop: connections, their number, the end |
//! | [`tls`] | the handshake of a secured connection |
//! | [`http1`], [`http2`] | a connection's requests and limits, in each of the two versions |
//! | [`answer`] | one request: its route, its answer, what stands on every answer |
//! | [`cors`] | pages of other origins |
//! | [`drain`] | how a server stops, as its requests see it |
//! | [`paced`] | how a connection is read: by the page, until it proves to be fast |
//! | [`routes`] | from an address to what answers it |
//! | [`contract`] | the table of operations: what each takes and answers; `GET /openapi.json` |
//! | [`auth`] | from a request's head to a principal with a scope |
//! | [`upload`] | `POST /v1/recordings`, `PUT /v1/recordings/{name}` |
//! | [`resumable`] | `/v1/uploads`, `/v1/uploads/{id}`: uploads in pieces, in two dialects |
//! | [`metadata`] | an upload's description, from headers and query |
//! | [`body`] | request bodies with their limits of time |
//! | [`later`] | an answer that comes when a body has been received |
//! | [`linger`] | an answer is read before its connection closes, or its request is reset |
//! | [`outlive`] | uploads end, whatever becomes of their connection |
//! | [`audio`] | `GET,HEAD /v1/recordings/{id}/audio` |
//! | [`range`] | which bytes a request asks for |
//! | [`recordings`] | listing, showing, deleting |
//! | [`links`] | playback links: made, revoked, played |
//! | [`tokens`], [`people`] | administration: who may do what, and who is cleared |
//! | [`document`] | small JSON documents that a request carries |
//! | [`receipts`] | `GET /v1/receipts` |
//! | [`audit`] | `GET /v1/audit` |
//! | [`peers`] | requests about what another server holds are passed on to it |
//! | [`trail`] | what requests leave in the audit trail |
//! | [`problem`] | errors as RFC 9457, and the pages that explain them |
//! | [`traced`] | the span of a request |
//! | [`ops`] | health, readiness, metrics |

pub mod answer;
pub mod audio;
pub mod audit;
pub mod auth;
pub mod body;
pub mod contract;
pub mod cors;
pub mod document;
pub mod drain;
pub mod http1;
pub mod http2;
pub mod later;
pub mod linger;
pub mod links;
pub mod metadata;
pub mod ops;
pub mod outlive;
pub mod paced;
pub mod peers;
pub mod people;
pub mod problem;
pub mod range;
pub mod receipts;
pub mod recordings;
pub mod resumable;
pub mod routes;
pub mod serve;
pub mod tls;
pub mod tokens;
pub mod traced;
pub mod trail;
pub mod upload;

use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use ipnet::IpNet;

use crate::catalog::SharedCatalog;
use crate::expire::ExpireStats;
use crate::ingest::Ingest;
use crate::model::Clock;
use crate::playback::Playback;
use crate::reading::Reader;
use crate::sso::SignOn;
use auth::{LastUses, Watch};
use drain::Drain;
use links::LinkLimits;
use peers::Peers;
use trail::Traces;

/// What the routes need: verbs, and limits of the wire.
pub struct Face {
    pub catalog: SharedCatalog,
    pub ingest: Ingest,
    pub playback: Playback,
    pub reader: Reader,
    pub clock: Arc<dyn Clock>,
    pub limits: WireLimits,
    pub drain: Arc<Drain>,
    pub expire_stats: Arc<ExpireStats>,
    pub probes: ops::Probes,
    pub peers: Peers,
    pub watch: Watch,
    pub last_uses: LastUses,
    pub traces: Traces,
    /// `None`: nobody gets in by single sign-on.
    pub sign_on: Option<SignOn>,
}

/// Limits of connections, each a setting but for the first, which the system sets.
#[derive(Clone, Debug)]
pub struct WireLimits {
    /// Connections are taken while fewer descriptors than this are open, of whatever kind.
    pub descriptors_max: u64,
    /// How long a body may pause.
    pub body_idle: Duration,
    /// Bytes per second that a body of a told length has at least, averaged over the window; 0: any.
    pub rate_min: u64,
    pub rate_window: Duration,
    /// How long a request head may take.
    pub header_timeout: Duration,
    /// How long running requests may go on once the server stops.
    pub drain_timeout: Duration,
    /// Whose `X-Forwarded-For` is believed; without TLS also the only peers, besides loopback, that are listened to.
    pub trusted_proxies: Vec<IpNet>,
    /// Whose pages may read answers.
    pub cors_origins: Vec<HeaderValue>,
    pub links: LinkLimits,
    /// How long what one person has asked for waits for another; `None`: one is enough.
    pub four_eyes: Option<Duration>,
}

pub type SharedFace = Arc<Face>;
