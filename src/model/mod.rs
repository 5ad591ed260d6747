//! Layer 0: the words of the field as checked types. A value of a type in here has been checked; nobody checks again.
//!
//! No key, no disk, no network: everything above may use this layer, and it uses nothing of ours.

pub mod call;
pub mod class;
pub mod clearance;
pub mod clock;
pub mod epoch;
pub mod error;
pub mod ids;
pub mod network;
pub mod principal;
pub mod range;
pub mod recording;
pub mod shape;
pub mod term;
pub mod text;
pub mod trail;

pub use call::CallData;
pub use class::Class;
pub use clearance::{Clearance, Standing};
pub use clock::Clock;
pub use epoch::{Day, Epoch, Tag, TimePath, TreeId};
pub use error::{Error, Kind, Problem, Result};
pub use ids::{LinkId, ObjectId, PersonId, RecordingId, ReplicaName, Slug, SubjectId, TenantNumber, TokenId};
pub use jiff::Timestamp;
pub use principal::{Principal, PrincipalKind, Scope, Scopes};
pub use recording::{Completeness, State};
pub use term::Term;
