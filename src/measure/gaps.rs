//! Finds the gaps between acknowledgements that errors mark as outages, in one pass and bounded memory.

/// How many of the longest gaps are kept until it is known which of them an error touches: a hung op can end long after the outage that it belongs to.
const KEPT: usize = 64;

/// A stretch without any acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    /// The acknowledgement before it.
    pub(super) start_ns: u64,
    /// The acknowledgement that ended it.
    pub(super) end_ns: u64,
    /// The first error that was seen in it.
    pub(super) first_error_ns: Option<u64>,
    /// The last acknowledgement by anyone before that error.
    pub(super) any_ack_ns: Option<u64>,
    /// Whether an op that ended in an error was under way in it.
    pub(super) touched: bool,
}

impl Gap {
    pub(super) fn length_ns(&self) -> u64 {
        self.end_ns - self.start_ns
    }
}

/// The gaps of one kind of client.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    last_ack_ns: Option<u64>,
    first_error_ns: Option<u64>,
    any_ack_ns: Option<u64>,
    kept: Vec<Gap>,
    /// Gaps that are no longer than this need not be looked at: the shortest that is kept is as long.
    shortest_ns: u64,
}

impl Gaps {
    pub(super) fn last_ack_ns(&self) -> Option<u64> {
        self.last_ack_ns
    }

    /// An op was acknowledged.
    pub(super) fn ack(&mut self, time_ns: u64) {
        let Some(start_ns) = self.last_ack_ns else {
            self.last_ack_ns = Some(time_ns);
            self.first_error_ns = None;
            return;
        };
        let time_ns = time_ns.max(start_ns);
        let first_error_ns = self.first_error_ns.take();
        let gap = Gap { start_ns, end_ns: time_ns, first_error_ns, any_ack_ns: self.any_ack_ns.take(), touched: first_error_ns.is_some() };
        self.last_ack_ns = Some(time_ns);
        if self.kept.len() < KEPT {
            self.kept.push(gap);
            return;
        }
        if gap.length_ns() > self.shortest_ns {
            self.keep_instead_of_the_shortest(gap);
        }
    }

    fn keep_instead_of_the_shortest(&mut self, gap: Gap) {
        let shortest = self.kept.iter_mut().min_by_key(|kept| kept.length_ns());
        if let Some(shortest) = shortest
            && shortest.length_ns() < gap.length_ns()
        {
            *shortest = gap;
        }
        self.shortest_ns = self.kept.iter().map(Gap::length_ns).min().unwrap_or(0);
    }

    /// An op that was sent at `sent_ns` ended in an error. `any_ack_ns` is the last acknowledgement by anyone.
    pub(super) fn error(&mut self, sent_ns: u64, done_ns: u64, any_ack_ns: Option<u64>) {
        if self.first_error_ns.is_none() && Some(done_ns) >= self.last_ack_ns {
            self.first_error_ns = Some(done_ns);
            self.any_ack_ns = any_ack_ns;
        }
        for gap in &mut self.kept {
            if sent_ns <= gap.end_ns && done_ns >= gap.start_ns {
                gap.touched = true;
            }
        }
    }

    /// The gap that goes on, if an error was seen in it, as if it ended at `end_ns`.
    pub(super) fn open(&self, end_ns: u64) -> Option<Gap> {
        let start_ns = self.last_ack_ns?;
        self.first_error_ns.map(|first| Gap {
            start_ns,
            end_ns: end_ns.max(start_ns),
            first_error_ns: Some(first),
            any_ack_ns: self.any_ack_ns,
            touched: true,
        })
    }

    /// The longest gap, whether or not an error touches it.
    pub(super) fn longest_ns(&self) -> u64 {
        self.kept.iter().map(Gap::length_ns).max().unwrap_or(0)
    }

    /// The longest gap that an error touches.
    pub(super) fn outage(&self) -> Option<Gap> {
        self.kept.iter().filter(|gap| gap.touched).max_by_key(|gap| gap.length_ns()).copied()
    }

    /// Begins anew with the last acknowledgement, and with the gap that goes on unless `cut_ns` ends it there.
    pub(super) fn next(&mut self, cut_ns: Option<u64>) {
        self.kept.clear();
        self.shortest_ns = 0;
        if let Some(cut_ns) = cut_ns {
            self.first_error_ns = None;
            self.any_ack_ns = None;
            self.last_ack_ns = self.last_ack_ns.map(|_| cut_ns);
        }
    }
}
