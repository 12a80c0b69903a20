//! Op, history, event, verdict, ids and units; no I/O.
//!
//! Everything that is written to a run's folder and read back from it is a type of this module, so that the recorder, the
//! checkers and the renderers agree by construction. Times are nanoseconds of one monotonic clock since the run's start,
//! unless a name says otherwise.

mod claim;
mod cursor;
mod event;
mod isolation;
mod line;
mod number_map;
mod op;
mod pair;
mod scan;
mod secret;
mod seen;
mod sink;
mod units;
mod verdict;
mod view;

pub use claim::Claim;
pub use event::{
    EngineFact, EngineInfo, Event, EventKind, FactOutcome, FaultTarget, HarnessInfo, IdentityMoment, LeakItem, Phase, ProbeStage, Provider,
    RunInfo,
};
pub use isolation::Isolation;
pub(crate) use number_map::NumberMap;
pub use op::{Digest, ErrorKind, F, Mop, Op, OpError, OpType, ParseOpError, ProcessId, Value, ValueOf};
pub use pair::{Begun, OpenOps};
pub use scan::{Ops, Scanner};
pub use secret::Secret;
pub use seen::{
    ClaimSeen, ContainerSeen, ContainerState, ControllerSeen, EndpointSeen, OwnerSeen, PodChange, PodSeen, ServiceSeen, TargetIdentity,
    TerminatedSeen,
};
pub use sink::EventSink;
pub use units::{Millis, Rate, UnitError, format_duration, parse_duration, parse_quantity, parse_rate};
pub use verdict::{Outcome, Verdict};
pub use view::{ErrorView, MopView, OpOf, OpView, TxnView, ValueView};
