//! A run as a picture shows it: ops in equal intervals of time, bounded however long the run is.
//!
//! Each interval counts how ops ended in it, by when they ended, and holds the response times of the ops that were due in it. So an outage shows as what it is: the
//! op that was due at its start waited for the whole of it, the one that was due at its end hardly at all. Intervals start at 100 ms and double whenever there
//! would be more than [`BINS_MAX`], which merges counts exactly and keeps memory and page the same size for a minute and a day. Percentiles of an interval are read from
//! buckets an eighth of an octave wide, so they are within 6 % of the truth: enough for a picture; every figure in words comes from the HDR histograms.

use super::tally::Ended;
use crate::model::{Begun, ErrorKind, OpType, OpView};

/// The most intervals of a series.
pub const BINS_MAX: usize = 4_096;
/// The length that intervals start with.
const FIRST_BIN_NS: u64 = 100_000_000;

/// Every kind of error, but for what is declined on purpose, in the order in which counts of them are kept.
pub const ERROR_KINDS: [ErrorKind; 8] = [
    ErrorKind::Refused,
    ErrorKind::Reset,
    ErrorKind::Closed,
    ErrorKind::Timeout,
    ErrorKind::Login,
    ErrorKind::Server,
    ErrorKind::Protocol,
    ErrorKind::NotSent,
];

/// Buckets an octave.
const SUB: usize = 8;
/// The octave of the first bucket: what is shorter than 8 µs counts as that.
const FIRST_OCTAVE: usize = 13;
/// More than an hour.
const OCTAVES: usize = 29;
const BUCKETS: usize = OCTAVES * SUB;

/// Counts of times, by bucket.
#[derive(Debug, Clone)]
struct Buckets(Box<[u32; BUCKETS]>);

impl Default for Buckets {
    fn default() -> Self {
        Buckets(Box::new([0; BUCKETS]))
    }
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.max(1 << FIRST_OCTAVE);
    let octave = ns.ilog2() as usize;
    let sub = usize::try_from((ns >> (octave - 3)) & 7).unwrap_or(0);
    ((octave - FIRST_OCTAVE) * SUB + sub).min(BUCKETS - 1)
}

/// Where a bucket begins, and how wide it is.
fn bounds_ns(bucket: usize) -> (u64, u64) {
    let (octave, sub) = (bucket / SUB + FIRST_OCTAVE, (bucket % SUB) as u64);
    let width = 1_u64 << (octave - 3);
    ((8 + sub) * width, width)
}

/// The middle of a bucket.
fn middle_ns(bucket: usize) -> u64 {
    let (from, width) = bounds_ns(bucket);
    from + width / 2
}

/// One interval.
#[derive(Debug, Clone, Default)]
pub struct Bin {
    /// Ops that were due.
    pub due: u32,
    /// Ops that ended ok.
    pub ok: u32,
    /// Ops that ended fail.
    pub fail: u32,
    /// Ops that ended info.
    pub info: u32,
    /// Ends that were not ok, by [`ERROR_KINDS`].
    pub errors: [u32; ERROR_KINDS.len()],
    /// The longest response time of an op that was due here and ended ok, or was declined by its own condition.
    pub max_ns: u64,
    buckets: Option<Buckets>,
}

impl Bin {
    /// How many ops that were due here were answered in which time, by bucket; empty when none was.
    pub fn counts(&self) -> &[u32] {
        self.buckets.as_ref().map_or(&[], |buckets| &buckets.0[..])
    }

    /// The response time that this share of the ops that were due here and were answered did not exceed; none when there were none.
    pub fn quantile_ns(&self, quantile: f64) -> Option<u64> {
        let buckets = &self.buckets.as_ref()?.0;
        let total: u64 = buckets.iter().map(|&count| u64::from(count)).sum();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a count of at most 32 bits a bucket"
        )]
        let rank = ((total as f64 * quantile).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        for (bucket, &count) in buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= rank {
                return Some(middle_ns(bucket).min(self.max_ns));
            }
        }
        None
    }

    fn merge(&mut self, other: &Bin) {
        self.due += other.due;
        self.ok += other.ok;
        self.fail += other.fail;
        self.info += other.info;
        for (mine, theirs) in self.errors.iter_mut().zip(other.errors) {
            *mine += theirs;
        }
        self.max_ns = self.max_ns.max(other.max_ns);
        if let Some(theirs) = &other.buckets {
            let mine = self.buckets.get_or_insert_default();
            for (mine, theirs) in mine.0.iter_mut().zip(theirs.0.iter()) {
                *mine += theirs;
            }
        }
    }
}

/// The ops of a run in equal intervals.
#[derive(Debug, Clone)]
pub struct Series {
    /// How long an interval is.
    pub bin_ns: u64,
    /// The intervals, from the run's start.
    pub bins: Vec<Bin>,
}

impl Default for Series {
    fn default() -> Self {
        Series { bin_ns: FIRST_BIN_NS, bins: Vec::new() }
    }
}

impl Series {
    /// How many buckets there are.
    pub const BUCKETS: usize = BUCKETS;
    /// How many of them make an octave.
    pub const BUCKETS_AN_OCTAVE: usize = SUB;

    /// The shortest time in a bucket; that of the first stands for everything shorter too, and one past the last is the end of all.
    pub fn bucket_from_ns(bucket: usize) -> u64 {
        bounds_ns(bucket).0
    }

    /// Takes one transition of the workload; what the prober and the final read do is not part of the load.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        if !op.f.is_load() {
            return;
        }
        let Some(begun) = begun else {
            self.at(op.intended_ns).due += 1;
            return;
        };
        let end = self.at(op.time_ns);
        match op.kind {
            OpType::Ok => end.ok += 1,
            OpType::Fail => end.fail += 1,
            OpType::Info | OpType::Invoke => end.info += 1,
        }
        let ended = Ended::of(op);
        if !matches!(ended, Ended::Ok | Ended::Declined) {
            let kind = op.error.map_or(ErrorKind::Protocol, |error| error.kind);
            if let Some(at) = ERROR_KINDS.iter().position(|known| *known == kind) {
                end.errors[at] += 1;
            }
            return;
        }
        let response_ns = op.time_ns.saturating_sub(begun.intended_ns);
        let due = self.at(begun.intended_ns);
        due.max_ns = due.max_ns.max(response_ns);
        due.buckets.get_or_insert_default().0[bucket_of(response_ns)] += 1;
    }

    fn at(&mut self, time_ns: u64) -> &mut Bin {
        let mut at = usize::try_from(time_ns / self.bin_ns).unwrap_or(usize::MAX);
        while at >= BINS_MAX {
            self.halve();
            at = usize::try_from(time_ns / self.bin_ns).unwrap_or(usize::MAX);
        }
        if at >= self.bins.len() {
            self.bins.resize_with(at + 1, Bin::default);
        }
        &mut self.bins[at]
    }

    fn halve(&mut self) {
        self.bin_ns = self.bin_ns.saturating_mul(2);
        let mut merged: Vec<Bin> = Vec::with_capacity(BINS_MAX);
        let mut bins = std::mem::take(&mut self.bins).into_iter();
        while let Some(mut bin) = bins.next() {
            if let Some(second) = bins.next() {
                bin.merge(&second);
            }
            merged.push(bin);
        }
        self.bins = merged;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{F, ValueView};

    fn feed(series: &mut Series, due_ns: u64, done_ns: u64, kind: OpType) {
        let view = |time_ns, kind| OpView {
            index: 0,
            time_ns,
            kind,
            process: 1,
            f: F::LedgerAdd,
            value: ValueView::None,
            error: None,
            intended_ns: due_ns,
        };
        let begun = Begun { index: 0, sent_ns: due_ns, intended_ns: due_ns, f: F::LedgerAdd, key: 0 };
        series.op(&view(due_ns, OpType::Invoke), None);
        series.op(&view(done_ns, kind), Some(&begun));
    }

    #[test]
    fn a_bucket_holds_its_middle_and_is_within_six_percent() {
        for ns in [8_200, 10_000, 123_456, 1_000_000, 1_400_000_000, 3_000_000_000_000] {
            let middle = middle_ns(bucket_of(ns));
            assert_eq!(bucket_of(middle), bucket_of(ns));
            assert!(middle.abs_diff(ns) * 100 <= ns * 7, "{ns} → {middle}");
        }
    }

    #[test]
    fn an_op_waits_where_it_was_due_and_ends_where_it_ended() {
        let mut series = Series::default();
        feed(&mut series, 50_000_000, 1_450_000_000, OpType::Ok);
        feed(&mut series, 60_000_000, 61_000_000, OpType::Fail);
        assert_eq!((series.bins[0].due, series.bins[0].ok, series.bins[0].fail), (2, 0, 1));
        assert_eq!(series.bins[14].ok, 1);
        assert_eq!(series.bins[0].max_ns, 1_400_000_000);
        assert_eq!(series.bins[14].max_ns, 0);
    }

    #[test]
    fn a_day_keeps_every_count_in_a_bounded_number_of_intervals() {
        let mut series = Series::default();
        for second in 0..86_400 {
            feed(&mut series, second * 1_000_000_000, second * 1_000_000_000 + 2_000_000, OpType::Ok);
        }
        assert!(series.bins.len() <= BINS_MAX);
        assert_eq!(series.bins.iter().map(|bin| bin.ok).sum::<u32>(), 86_400);
        let p50 = series.bins[10].quantile_ns(0.5).unwrap_or(0);
        assert!(p50.abs_diff(2_000_000) < 130_000, "{p50}");
    }
}
