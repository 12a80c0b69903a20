//! The search through the ops of one register.

use std::collections::{BTreeSet, HashSet};

/// The end of an op that has none.
pub(super) const OPEN: u64 = u64::MAX;

/// Ops of one register that may be open at once.
const OPEN_MAX: usize = 128;
/// Configurations that one end of an op may lead through.
const CONFIGURATIONS_MAX: usize = 1_000_000;

/// What an op did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It did not happen.
    Nothing,
    /// It returned this; `None` when that is not known.
    Read(Option<i64>),
    Write(i64),
    /// Expected, new.
    Cas(i64, i64),
}

/// One op.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyOp {
    pub(super) action: Action,
    pub(super) invoked: u64,
    /// Index of its acknowledgement, or [`OPEN`].
    pub(super) completed: u64,
}

/// What the search says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    Linearizable,
    Fails(Failure),
    TooComplex(&'static str),
}

/// The end of the smallest prefix that fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    did: String,
    pub(super) ends: u64,
    /// What the register could hold before.
    possible: BTreeSet<i64>,
    pub(super) proof: Vec<u64>,
}

impl Failure {
    pub(super) fn sentence(&self, key: u64) -> String {
        let possible: Vec<String> = self.possible.iter().map(i64::to_string).collect();
        format!(
            "register {key}: op {} {}, which no order of its ops explains; it could hold {}; every prefix that ends before op {} is linearizable",
            self.ends,
            self.did,
            possible.join(" or "),
            self.ends
        )
    }
}

/// A content of the register and the open ops that have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Configuration {
    content: i64,
    done: u128,
}

/// Searches one register that holds `initial` at the start.
pub(super) fn judge(mut ops: Vec<KeyOp>, initial: i64) -> Judgement {
    drop_irrelevant(&mut ops);
    let mut events: Vec<(u64, usize, bool)> = Vec::with_capacity(ops.len() * 2);
    for (at, op) in ops.iter().enumerate() {
        events.push((op.invoked, at, false));
        if op.completed != OPEN {
            events.push((op.completed, at, true));
        }
    }
    events.sort_unstable();
    let mut search = Search {
        open: Vec::new(),
        slots: vec![0; ops.len()],
        configurations: vec![Configuration { content: initial, done: 0 }],
        visited: HashSet::new(),
    };
    for (index, at, ends) in events {
        if !ends {
            if !search.begin(at, ops[at].action) {
                return Judgement::TooComplex("more than 128 of its ops are open at once");
            }
            continue;
        }
        let possible = search.configurations.iter().map(|configuration| configuration.content).collect();
        match search.end(at) {
            None => return Judgement::TooComplex("the order of its ops has too many possibilities"),
            Some(true) => {}
            Some(false) => return Judgement::Fails(failure(&ops, at, index, possible)),
        }
    }
    Judgement::Linearizable
}

/// Ops that cannot matter: those that did not happen, reads that nobody knows the result of, and writes of unknown outcome whose content nobody saw.
fn drop_irrelevant(ops: &mut Vec<KeyOp>) {
    let mut seen: HashSet<i64> = HashSet::new();
    for op in ops.iter() {
        match op.action {
            Action::Read(Some(content)) | Action::Cas(content, _) => {
                seen.insert(content);
            }
            _ => {}
        }
    }
    ops.retain(|op| match op.action {
        Action::Nothing | Action::Read(None) => false,
        Action::Read(Some(_)) => true,
        Action::Write(content) | Action::Cas(_, content) => op.completed != OPEN || seen.contains(&content),
    });
}

/// The few ops that tell the story: who wrote what was seen, the last write acknowledged before, and the op itself.
fn failure(ops: &[KeyOp], at: usize, ends: u64, possible: BTreeSet<i64>) -> Failure {
    let op = ops[at];
    let (did, seen) = match op.action {
        Action::Read(Some(content)) => (format!("read {content}"), Some(content)),
        Action::Cas(expected, new) => (format!("replaced {expected} by {new}"), Some(expected)),
        Action::Write(content) => (format!("wrote {content}"), None),
        Action::Read(None) | Action::Nothing => ("did nothing".to_owned(), None),
    };
    let writes = |other: &&KeyOp| matches!(other.action, Action::Write(_) | Action::Cas(..)) && other.invoked < ends;
    let wrote = |other: &&KeyOp| matches!(other.action, Action::Write(content) | Action::Cas(_, content) if Some(content) == seen);
    let told = |other: &KeyOp| if other.completed > ends { other.invoked } else { other.completed };
    let author = ops.iter().filter(writes).rfind(wrote).map(told);
    let latest = ops.iter().filter(writes).filter(|other| other.completed < op.invoked).max_by_key(|other| other.completed).map(told);
    let proof: BTreeSet<u64> = author.into_iter().chain(latest).chain([ends]).collect();
    Failure { did, ends, possible, proof: proof.into_iter().collect() }
}

struct Search {
    /// By slot: the action of the op that is open there.
    open: Vec<Option<Action>>,
    /// By op: its slot.
    slots: Vec<usize>,
    configurations: Vec<Configuration>,
    visited: HashSet<Configuration>,
}

impl Search {
    /// False when there is no room.
    fn begin(&mut self, at: usize, action: Action) -> bool {
        let slot = self.open.iter().position(Option::is_none).unwrap_or_else(|| {
            self.open.push(None);
            self.open.len() - 1
        });
        if slot >= OPEN_MAX {
            return false;
        }
        self.open[slot] = Some(action);
        self.slots[at] = slot;
        if let Action::Read(Some(content)) = action {
            for configuration in &mut self.configurations {
                if configuration.content == content {
                    configuration.done |= 1 << slot;
                }
            }
        }
        true
    }

    /// Makes an op take effect in every configuration. Tells whether one is left, `None` when there were too many to follow.
    fn end(&mut self, at: usize) -> Option<bool> {
        let slot = self.slots[at];
        let bit = 1_u128 << slot;
        let mut left: Vec<Configuration> = Vec::with_capacity(self.configurations.len());
        let (done, mut waiting): (Vec<_>, Vec<_>) = self.configurations.drain(..).partition(|configuration| configuration.done & bit != 0);
        left.extend(done.into_iter().map(|configuration| Configuration { done: configuration.done & !bit, ..configuration }));
        if !waiting.is_empty() {
            self.visited.clear();
            self.visited.extend(waiting.iter().copied());
            while let Some(configuration) = waiting.pop() {
                for next in 0..self.open.len() {
                    let Some(after) = self.take_effect(configuration, next) else { continue };
                    if after.done & bit != 0 {
                        left.push(Configuration { done: after.done & !bit, ..after });
                    } else if self.visited.insert(after) {
                        waiting.push(after);
                    }
                }
                if self.visited.len() > CONFIGURATIONS_MAX {
                    return None;
                }
            }
            left.sort_unstable_by_key(|configuration| (configuration.content, configuration.done));
            left.dedup();
        }
        self.open[slot] = None;
        self.configurations = left;
        Some(!self.configurations.is_empty())
    }

    /// What an open write does to a configuration, and with it every open read that returns its content: a read changes nothing, so that none ever
    /// gains by waiting. `None` where it cannot take effect.
    fn take_effect(&self, configuration: Configuration, slot: usize) -> Option<Configuration> {
        if configuration.done & (1 << slot) != 0 {
            return None;
        }
        let content = match self.open[slot]? {
            Action::Write(content) => content,
            Action::Cas(expected, new) if expected == configuration.content => new,
            _ => return None,
        };
        let mut done = configuration.done | 1 << slot;
        for (other, action) in self.open.iter().enumerate() {
            if *action == Some(Action::Read(Some(content))) {
                done |= 1 << other;
            }
        }
        Some(Configuration { content, done })
    }
}
