//! The queue between the schedule and the clients: bounded, first in first out, each op to the client that is free first.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// An op that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    /// When, in ns since the run's start.
    pub(super) due_ns: u64,
    /// When the schedule handed it over.
    pub(super) issued_ns: u64,
}

/// The queue.
#[derive(Debug)]
pub(super) struct DueQueue {
    waiting: Mutex<VecDeque<Due>>,
    capacity: usize,
    closed: AtomicBool,
    /// One permit is kept when nobody waits; whoever takes an op and leaves more behind passes it on.
    arrived: Notify,
}

impl DueQueue {
    pub(super) fn new(capacity: usize) -> Self {
        DueQueue {
            waiting: Mutex::new(VecDeque::with_capacity(capacity.min(4_096))),
            capacity,
            closed: AtomicBool::new(false),
            arrived: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Due>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands an op over; gives it back when the queue is full.
    pub(super) fn push(&self, due: Due) -> Result<(), Due> {
        {
            let mut waiting = self.lock();
            if waiting.len() >= self.capacity {
                return Err(due);
            }
            waiting.push_back(due);
        }
        self.arrived.notify_one();
        Ok(())
    }

    /// Takes the next op, or `None` once the queue is closed. Nothing is lost when the wait is given up.
    pub(super) async fn next(&self) -> Option<Due> {
        loop {
            // Made before the look at `closed`: from then on it hears the closing, even before it is polled.
            let arrived = self.arrived.notified();
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            let (taken, more) = {
                let mut waiting = self.lock();
                (waiting.pop_front(), !waiting.is_empty())
            };
            if more {
                self.arrived.notify_one();
            }
            if taken.is_some() {
                return taken;
            }
            arrived.await;
        }
    }

    /// Takes everything that waits.
    pub(super) fn drain(&self) -> VecDeque<Due> {
        std::mem::take(&mut *self.lock())
    }

    /// How many ops wait.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Ends every wait. What still waits is left for [`DueQueue::drain`].
    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.arrived.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn due(at: u64) -> Due {
        Due { due_ns: at, issued_ns: at }
    }

    #[tokio::test]
    async fn ops_come_out_in_order_and_a_full_queue_gives_them_back() {
        let queue = DueQueue::new(2);
        assert_eq!(queue.push(due(1)), Ok(()));
        assert_eq!(queue.push(due(2)), Ok(()));
        assert_eq!(queue.push(due(3)), Err(due(3)));
        assert_eq!(queue.next().await, Some(due(1)));
        assert_eq!(queue.len(), 1);
        assert_eq!(queue.drain(), [due(2)]);
        queue.close();
        assert_eq!(queue.next().await, None);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn every_op_reaches_exactly_one_waiter() {
        const OPS: u64 = 20_000;
        let queue = Arc::new(DueQueue::new(OPS as usize));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let queue = Arc::clone(&queue);
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    while let Some(due) = queue.next().await {
                        taken.push(due.due_ns);
                        tokio::task::yield_now().await;
                    }
                    taken
                })
            })
            .collect();
        let feeder = Arc::clone(&queue);
        std::thread::spawn(move || (0..OPS).for_each(|at| assert_eq!(feeder.push(due(at)), Ok(())))).join().expect("all fit");
        while queue.len() > 0 {
            tokio::task::yield_now().await;
        }
        queue.close();
        let mut all = Vec::new();
        for client in clients {
            // A waiter that missed the closing would hang here.
            all.extend(client.await.expect("the client ends"));
        }
        all.sort_unstable();
        assert_eq!(all, (0..OPS).collect::<Vec<_>>());
    }
}
