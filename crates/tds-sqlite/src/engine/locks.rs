//! Locks on tables and rows, and the turn at a database's writer: who waits for whom, and who must give way when they wait for each other.
//!
//! SQLite has one writer, so two transactions never write at the same time. What they have read and what they mean to write is locked here, above it:
//! in two phases, to the end of the transaction, so that SERIALIZABLE is what it says and a deadlock is one as in SQL Server. A row is locked by the value
//! of its table's integer key, whether it is there or not, together with an intent on the table; whatever is not pinned to one such key locks the table.
//!
//! **Waits** stand in one queue in the order in which they came, and a request is granted when it is compatible with what is held and with what those
//! before it wait for; for a thing that the asker holds already, only what is held counts. **Deadlocks** are looked for when the edge that could close a
//! cycle is made, which is when a request begins to wait; no timer is involved. A cycle that exists only because of the order of the queue is dissolved by
//! letting one of its members go ahead. In any other, the member of the lowest priority, then the one that has written least, then the one that closed the
//! cycle is the victim.
//!
//! **Writes that cross.** A first write waits for its locks and the writer together, so it holds neither while it waits, and the transaction that has the
//! writer can go ahead of it and take what it wants. In SQL Server, where the first write would have been made, that one would have to wait; and if the
//! overtaken then asked for what the other had locked by that time, it would be a deadlock. So it is here, and the overtaken is the victim: the other has
//! committed. Without that, nobody whose transactions change rows in opposite order would ever learn of it from this server.
//!
//! **Autocommit statements** that write hold their locks only while they run, and begin to wait with nothing in their hands. Those that run wait for nobody,
//! so they are counted and are no members of the graph.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// What is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Thing {
    /// The turn at the writer of a database.
    Writer(i64),
    /// A table: the database's id and its own.
    Table(i64, i64),
    /// The row that has this key, or would have it.
    Row(i64, i64, i64),
}

/// How it is locked: a set of the bits in [`mode`].
pub type Mode = u16;

/// Bits of [`Mode`].
pub mod mode {
    use super::Mode;

    /// What was read stays as it is.
    pub const READ: Mode = 1;
    /// Read in order to be written: one at a time, beside readers.
    pub const UPDATE: Mode = 2;
    /// Written by an explicit transaction.
    pub const WRITE: Mode = 4;
    /// Written by an autocommit statement. The writer takes these one after the other, so they do not exclude each other.
    pub const AUTO: Mode = 8;
    /// The writer, for one transaction.
    pub const OWN: Mode = 256;
    /// The writer, for an autocommit statement among others.
    pub const GROUP: Mode = 512;

    /// The mode of a table that goes with a mode of one of its rows: the same bits, four places higher.
    pub const fn intent(row: Mode) -> Mode {
        row << 4
    }
}

/// With what each bit is in conflict, lowest first.
const CONFLICTS: [Mode; 10] = {
    use mode::{AUTO, GROUP, OWN, READ, UPDATE, WRITE, intent};
    [
        WRITE | AUTO | intent(WRITE | AUTO),
        UPDATE | WRITE | AUTO | intent(UPDATE | WRITE | AUTO),
        READ | UPDATE | WRITE | intent(READ | UPDATE | WRITE),
        READ | UPDATE | intent(READ | UPDATE),
        WRITE | AUTO,
        UPDATE | WRITE | AUTO,
        READ | UPDATE | WRITE,
        READ | UPDATE,
        OWN | GROUP,
        OWN,
    ]
};

fn conflict(wanted: Mode, held: Mode) -> bool {
    CONFLICTS.iter().enumerate().any(|(bit, with)| wanted & (1 << bit) != 0 && held & with != 0)
}

/// What a statement wants at once; it gets all of it or waits for all of it.
pub type Wants = Vec<(Thing, Mode)>;

/// Who asks.
#[derive(Debug, Clone, Copy)]
struct Asker {
    /// The transaction; `None` for an autocommit statement.
    owner: Option<u64>,
    /// SET DEADLOCK_PRIORITY.
    priority: i8,
    /// How much it has written.
    written: u64,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It has what it wanted.
    Granted,
    /// It must give up everything that it holds.
    Victim,
    /// LOCK_TIMEOUT is over; nothing has changed.
    TimedOut,
    /// The client asked to stop; nothing has changed.
    Cancelled,
}

struct Waiter {
    ticket: u64,
    asker: Asker,
    wants: Wants,
    /// It does not wait for those before it in the queue, because that would never end.
    ahead: bool,
    reply: oneshot::Sender<Verdict>,
}

#[derive(Default)]
struct Held {
    owners: Vec<(u64, Mode)>,
    /// Autocommit statements that run, by mode.
    autos: Vec<(Mode, u32)>,
}

impl Held {
    fn by(&self, owner: Option<u64>) -> Mode {
        self.owners.iter().find(|(holder, _)| Some(*holder) == owner).map_or(0, |(_, mode)| *mode)
    }

    fn blocks(&self, owner: Option<u64>, wanted: Mode) -> bool {
        self.owners.iter().any(|(holder, mode)| Some(*holder) != owner && conflict(wanted, *mode))
            || self.autos.iter().any(|(mode, _)| conflict(wanted, *mode))
    }

    fn is_free(&self) -> bool {
        self.owners.is_empty() && self.autos.is_empty()
    }
}

#[derive(Default)]
struct State {
    held: HashMap<Thing, Held>,
    /// What each transaction holds something on.
    things: HashMap<u64, Vec<Thing>>,
    /// In the order in which they came.
    queue: Vec<Waiter>,
    /// Of a transaction that was overtaken: what those who did it had locked by then.
    overtaken: HashMap<u64, Wants>,
    tickets: u64,
    owners: u64,
}

/// A way from one waiter to another: whether only the order of the queue makes it.
struct Step {
    waiter: u64,
    soft: bool,
}

impl State {
    fn is_free(&self, asker: &Asker, wants: &Wants) -> bool {
        wants.iter().all(|(thing, mode)| self.held.get(thing).is_none_or(|held| !held.blocks(asker.owner, *mode)))
    }

    fn hold(&mut self, asker: &Asker, wants: &Wants) {
        for (thing, mode) in wants {
            let held = self.held.entry(*thing).or_default();
            let Some(owner) = asker.owner else {
                match held.autos.iter_mut().find(|(m, _)| m == mode) {
                    Some((_, count)) => *count += 1,
                    None => held.autos.push((*mode, 1)),
                }
                continue;
            };
            match held.owners.iter_mut().find(|(holder, _)| *holder == owner) {
                Some((_, m)) => *m |= mode,
                None => {
                    held.owners.push((owner, *mode));
                    self.things.entry(owner).or_default().push(*thing);
                }
            }
        }
    }

    fn has_all(&self, asker: &Asker, wants: &Wants) -> bool {
        wants.iter().all(|(thing, mode)| self.held.get(thing).map_or(0, |held| held.by(asker.owner)) & mode == *mode)
    }

    fn has_any(&self, asker: &Asker, thing: &Thing) -> bool {
        self.held.get(thing).is_some_and(|held| held.by(asker.owner) != 0)
    }

    /// Whether somebody must stand behind one who came before, for the sake of their order alone.
    fn queues(&self, asker: &Asker, wants: &Wants, before: &Wants) -> bool {
        let clash = |thing: &Thing, mode: Mode| before.iter().any(|(t, m)| t == thing && conflict(mode, *m));
        wants.iter().any(|(thing, mode)| clash(thing, *mode) && !self.has_any(asker, thing))
    }

    /// Grants at once, or queues.
    fn request(&mut self, asker: Asker, wants: &Wants) -> Option<(u64, oneshot::Receiver<Verdict>)> {
        if self.has_all(&asker, wants) {
            return None;
        }
        let victim = asker.owner.and_then(|owner| self.overtaken.get(&owner)).is_some_and(|locked| wanted_by_both(locked, wants));
        let behind = self.queue.iter().any(|before| self.queues(&asker, wants, &before.wants));
        if !victim && !behind && self.is_free(&asker, wants) {
            self.hold(&asker, wants);
            return None;
        }
        self.tickets += 1;
        let ticket = self.tickets;
        let (reply, rx) = oneshot::channel();
        if victim {
            let _ = reply.send(Verdict::Victim);
            return Some((ticket, rx));
        }
        self.queue.push(Waiter { ticket, asker, wants: wants.clone(), ahead: false, reply });
        // Nobody waits for one who holds nothing and stands last.
        if asker.owner.is_some_and(|owner| self.things.contains_key(&owner)) {
            self.break_cycles(ticket);
        }
        Some((ticket, rx))
    }

    /// Grants what can be granted, from the front of the queue to its end.
    fn serve(&mut self) {
        let mut wanted: HashMap<Thing, Mode> = HashMap::new();
        let mut at = 0;
        while let Some(waiter) = self.queue.get(at) {
            let queued = |(thing, mode): &(Thing, Mode)| {
                wanted.get(thing).is_some_and(|before| conflict(*mode, *before)) && !self.has_any(&waiter.asker, thing)
            };
            let ahead = waiter.ahead;
            if self.is_free(&waiter.asker, &waiter.wants) && (ahead || !waiter.wants.iter().any(queued)) {
                if ahead {
                    self.overtake(at);
                }
                let waiter = self.queue.remove(at);
                self.hold(&waiter.asker, &waiter.wants);
                // One that nobody waits for any more gives back what it holds by itself, see `Wait`.
                let _ = waiter.reply.send(Verdict::Granted);
            } else {
                for (thing, mode) in &waiter.wants {
                    *wanted.entry(*thing).or_default() |= mode;
                }
                at += 1;
            }
        }
    }

    /// Notes who is overtaken by a waiter that is about to get what it wants: those before it who wait for nothing but the writer.
    fn overtake(&mut self, place: usize) {
        let winner = &self.queue[place];
        let Some(owner) = winner.asker.owner else { return };
        let is_data = |thing: &Thing| !matches!(thing, Thing::Writer(_));
        let locked = self.things.get(&owner).into_iter().flatten().filter(|thing| is_data(thing));
        let locked: Wants = locked.filter_map(|thing| Some((*thing, self.held.get(thing)?.by(Some(owner))))).collect();
        for loser in &self.queue[..place] {
            let data: Wants = loser.wants.iter().filter(|(thing, _)| is_data(thing)).copied().collect();
            if let Some(id) = loser.asker.owner
                && wanted_by_both(&data, &winner.wants)
                && self.is_free(&loser.asker, &data)
            {
                self.overtaken.entry(id).or_default().extend(&locked);
            }
        }
    }

    fn release(&mut self, owner: u64) {
        self.overtaken.remove(&owner);
        for thing in self.things.remove(&owner).unwrap_or_default() {
            if let Some(held) = self.held.get_mut(&thing) {
                held.owners.retain(|(holder, _)| *holder != owner);
                if held.is_free() {
                    self.held.remove(&thing);
                }
            }
        }
        if !self.queue.is_empty() {
            self.serve();
        }
    }

    fn release_auto(&mut self, wants: &Wants) {
        for (thing, mode) in wants {
            let Some(held) = self.held.get_mut(thing) else { continue };
            if let Some(at) = held.autos.iter().position(|(m, _)| m == mode) {
                held.autos[at].1 -= 1;
                if held.autos[at].1 == 0 {
                    held.autos.swap_remove(at);
                }
            }
            if held.is_free() {
                self.held.remove(thing);
            }
        }
        if !self.queue.is_empty() {
            self.serve();
        }
    }

    /// Takes a waiter out of the queue; false when it has had its answer.
    fn cancel(&mut self, ticket: u64) -> bool {
        let Some(at) = self.queue.iter().position(|w| w.ticket == ticket) else { return false };
        if let Some(owner) = self.queue.remove(at).asker.owner {
            self.overtaken.remove(&owner);
        }
        self.serve();
        true
    }

    fn waiter(&self, ticket: u64) -> Option<&Waiter> {
        self.queue.iter().find(|w| w.ticket == ticket)
    }

    /// For whom a waiter waits, of those who wait themselves.
    fn waits_for(&self, place: usize) -> Vec<Step> {
        let waiter = &self.queue[place];
        let mut steps = Vec::new();
        for (at, other) in self.queue.iter().enumerate().filter(|(at, _)| *at != place) {
            let holds =
                |(thing, mode): &(Thing, Mode)| self.held.get(thing).is_some_and(|held| conflict(*mode, held.by(other.asker.owner)));
            if other.asker.owner.is_some() && waiter.wants.iter().any(holds) {
                steps.push(Step { waiter: other.ticket, soft: false });
            } else if at < place && !waiter.ahead && self.queues(&waiter.asker, &waiter.wants, &other.wants) {
                steps.push(Step { waiter: other.ticket, soft: true });
            }
        }
        steps
    }

    /// A cycle through a waiter: each member and how it waits for the next.
    fn cycle(&self, ticket: u64) -> Option<Vec<Step>> {
        let places: HashMap<u64, usize> = self.queue.iter().enumerate().map(|(at, w)| (w.ticket, at)).collect();
        let mut seen = vec![false; self.queue.len()];
        // The way to the waiter that is looked at, and what is still to be tried from each.
        let mut way: Vec<(u64, bool, Vec<Step>)> = vec![(ticket, false, self.waits_for(*places.get(&ticket)?))];
        loop {
            let (_, _, steps) = way.last_mut()?;
            let Some(step) = steps.pop() else {
                way.pop();
                continue;
            };
            if step.waiter == ticket {
                // Each entry knows how it was come to; a member is told by how it leaves.
                let mut leaves: Vec<bool> = way.iter().skip(1).map(|(_, soft, _)| *soft).collect();
                leaves.push(step.soft);
                return Some(way.iter().zip(leaves).map(|((waiter, ..), soft)| Step { waiter: *waiter, soft }).collect());
            }
            let Some(&place) = places.get(&step.waiter) else { continue };
            if !std::mem::replace(&mut seen[place], true) {
                way.push((step.waiter, step.soft, self.waits_for(place)));
            }
        }
    }

    /// Dissolves every cycle that a new waiter has closed.
    fn break_cycles(&mut self, ticket: u64) {
        while let Some(cycle) = self.cycle(ticket) {
            if let Some(step) = cycle.iter().find(|step| step.soft) {
                if let Some(waiter) = self.queue.iter_mut().find(|w| w.ticket == step.waiter) {
                    waiter.ahead = true;
                }
            } else {
                let cost = |step: &&Step| {
                    let asker = self.waiter(step.waiter).map(|w| w.asker);
                    (asker.map(|a| (a.priority, a.written)), step.waiter != ticket)
                };
                let Some(victim) = cycle.iter().min_by_key(cost).map(|step| step.waiter) else { return };
                let Some(at) = self.queue.iter().position(|w| w.ticket == victim) else { return };
                let _ = self.queue.remove(at).reply.send(Verdict::Victim);
            }
            self.serve();
        }
    }
}

fn wanted_by_both(before: &Wants, wants: &Wants) -> bool {
    wants.iter().any(|(thing, mode)| before.iter().any(|(t, m)| t == thing && conflict(*mode, *m)))
}

/// The locks of a server.
#[derive(Default)]
pub struct Locks(Mutex<State>);

impl Locks {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction that holds nothing yet.
    pub fn owner(self: &Arc<Self>) -> Owner {
        let mut state = self.state();
        state.owners += 1;
        Owner { locks: self.clone(), id: state.owners }
    }

    /// Takes the locks of an autocommit statement, which are held until what comes back is dropped.
    ///
    /// # Errors
    /// How the wait ended otherwise; never as a victim, because who holds nothing closes no cycle.
    pub async fn auto(self: &Arc<Self>, wants: Wants, patience: Patience<'_>) -> Result<Running, Verdict> {
        let asker = Asker { owner: None, priority: 0, written: 0 };
        let queued = self.state().request(asker, &wants);
        if let Some((ticket, rx)) = queued {
            match (Wait { locks: self, ticket, rx, auto: Some(&wants) }).end(patience).await {
                Verdict::Granted => {}
                other => return Err(other),
            }
        }
        Ok(Running { locks: self.clone(), wants })
    }
}

/// How long somebody waits.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    /// LOCK_TIMEOUT in ms, negative for ever.
    pub timeout_ms: i64,
    /// Told when the client does not want to wait any longer.
    pub cancel: &'a Notify,
}

/// The locks of a transaction; dropping it releases them.
pub struct Owner {
    locks: Arc<Locks>,
    id: u64,
}

impl Owner {
    /// Takes locks, and waits for them where it must.
    pub async fn lock(&self, wants: &Wants, priority: i8, written: u64, patience: Patience<'_>) -> Verdict {
        let queued = self.locks.state().request(Asker { owner: Some(self.id), priority, written }, wants);
        match queued {
            None => Verdict::Granted,
            Some((ticket, rx)) => Wait { locks: &self.locks, ticket, rx, auto: None }.end(patience).await,
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.locks.state().release(self.id);
    }
}

/// The locks of an autocommit statement that runs; dropping it releases them.
pub struct Running {
    locks: Arc<Locks>,
    wants: Wants,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.locks.state().release_auto(&self.wants);
    }
}

/// A place in the queue; dropping it leaves the queue.
struct Wait<'a> {
    locks: &'a Arc<Locks>,
    ticket: u64,
    rx: oneshot::Receiver<Verdict>,
    /// Of an autocommit statement: what it would have to give back itself.
    auto: Option<&'a Wants>,
}

impl Wait<'_> {
    async fn end(mut self, patience: Patience<'_>) -> Verdict {
        let timeout = async {
            match u64::try_from(patience.timeout_ms) {
                Ok(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                Err(_) => std::future::pending().await,
            }
        };
        let given_up = tokio::select! {
            biased;
            verdict = &mut self.rx => return self.answered(verdict.ok()),
            () = timeout => Verdict::TimedOut,
            () = patience.cancel.notified() => Verdict::Cancelled,
        };
        if self.locks.state().cancel(self.ticket) {
            self.auto = None;
            return given_up;
        }
        // The answer came at the same moment, and it counts.
        let verdict = self.rx.try_recv().ok();
        self.answered(verdict)
    }

    fn answered(&mut self, verdict: Option<Verdict>) -> Verdict {
        self.auto = None;
        verdict.unwrap_or(Verdict::Cancelled)
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut state = self.locks.state();
        if !state.cancel(self.ticket)
            && let Some(wants) = self.auto
            && self.rx.try_recv() == Ok(Verdict::Granted)
        {
            state.release_auto(wants);
        }
    }
}

#[cfg(test)]
#[path = "locks_tests.rs"]
mod tests;
