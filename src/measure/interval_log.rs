//! Latency histograms and the interval log that HdrHistogram's own readers open.
//!
//! The log is `HistogramLogWriter`'s format 1.3 (HdrHistogram/HdrHistogram, `HistogramLogWriter.java`): a header of comments, then a line for each tag and
//! interval: `Tag=…,start,length,max,histogram`, times in seconds from the base time, the maximum in ms, the histogram V2, deflated, in base64.
//! A tag is `<f>.<outcome>.<which>`, where *response* counts from when the op was due and *service* from when it was sent.

use std::fmt::Write as _;
use std::io::{self, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer, V2DeflateSerializer};

use crate::measure::Clock;
use crate::model::{F, OpType};

/// Significant decimal digits of every histogram.
const DIGITS: u8 = 3;

const WHICH: [&str; 2] = ["response", "service"];
const OUTCOMES: [(OpType, &str); 3] = [(OpType::Ok, "ok"), (OpType::Fail, "fail"), (OpType::Info, "info")];
const FS: [F; 17] = F::ALL;

/// The histograms of the interval that runs.
pub(super) struct Interval {
    /// By f, outcome and which; made when first needed.
    histograms: [[[Option<Histogram<u64>>; 2]; 3]; FS.len()],
    start_ns: u64,
}

impl Interval {
    pub(super) fn starting_at(start_ns: u64) -> Self {
        Interval { histograms: Default::default(), start_ns }
    }

    pub(super) fn start_ns(&self) -> u64 {
        self.start_ns
    }

    /// Counts one completed op. `sent_ns` is `None` for an op that was never sent, which has no service time.
    pub(super) fn record(&mut self, f: F, kind: OpType, intended_ns: u64, sent_ns: Option<u64>, completed_ns: u64) {
        let Some(outcome) = OUTCOMES.iter().position(|(known, _)| *known == kind) else { return };
        let of_op = &mut self.histograms[f as usize][outcome];
        record(&mut of_op[0], completed_ns.saturating_sub(intended_ns));
        if let Some(sent_ns) = sent_ns {
            record(&mut of_op[1], completed_ns.saturating_sub(sent_ns));
        }
    }
}

fn record(histogram: &mut Option<Histogram<u64>>, value_ns: u64) {
    add(histogram.get_or_insert_with(new_histogram), value_ns);
}

/// Counts a value in a histogram of [`new_histogram`]. (`saturating_record` would cut it off at the size of the moment instead of growing.)
pub(crate) fn add(histogram: &mut Histogram<u64>, value_ns: u64) {
    // Growing fails only beyond what the address space could index, which 64 bits of ns at three digits do not reach.
    let _ = histogram.record(value_ns);
}

/// A histogram of ns that grows as needed.
pub(crate) fn new_histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are within the limits of the format")
}

/// The 50th, 90th, 99th, 99.9th percentile and the worst, in the histogram's own unit.
pub fn lateness_percentiles(histogram: &Histogram<u64>) -> [u64; 5] {
    [
        histogram.value_at_quantile(0.5),
        histogram.value_at_quantile(0.9),
        histogram.value_at_quantile(0.99),
        histogram.value_at_quantile(0.999),
        histogram.max(),
    ]
}

/// Writes intervals.
pub(super) struct IntervalLog<W> {
    out: W,
    serializer: V2DeflateSerializer,
    encoded: Vec<u8>,
    line: String,
}

impl<W: Write> IntervalLog<W> {
    /// Writes the header.
    pub(super) fn begin(mut out: W, clock: &Clock) -> io::Result<Self> {
        let started_at = clock.started_at();
        let base_ms = started_at.as_millisecond();
        let (seconds, ms) = (base_ms.div_euclid(1_000), base_ms.rem_euclid(1_000));
        write!(
            out,
            "#[Histogram log format version 1.3]\n\
             #[StartTime: {seconds}.{ms:03} (seconds since epoch), {started_at}]\n\
             #[BaseTime: {seconds}.{ms:03} (seconds since epoch)]\n\
             #[Histograms are in ns; Interval_Max is in ms]\n\
             \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
        )?;
        Ok(IntervalLog { out, serializer: V2DeflateSerializer::new(), encoded: Vec::new(), line: String::new() })
    }

    /// Writes every histogram that counted anything and begins the next interval.
    pub(super) fn write(&mut self, interval: &mut Interval, end_ns: u64) -> io::Result<()> {
        self.line.clear();
        let (start_ns, length_ns) = (interval.start_ns, end_ns.saturating_sub(interval.start_ns));
        for (f, of_f) in FS.iter().zip(&mut interval.histograms) {
            for ((_, outcome), of_outcome) in OUTCOMES.iter().zip(of_f) {
                for (which, histogram) in WHICH.iter().zip(of_outcome) {
                    let Some(histogram) = histogram else { continue };
                    if histogram.is_empty() {
                        continue;
                    }
                    self.encoded.clear();
                    self.serializer.serialize(histogram, &mut self.encoded).map_err(io::Error::other)?;
                    let _ = write!(self.line, "Tag={f}.{outcome}.{which},");
                    put_ms(&mut self.line, start_ns / 1_000_000);
                    self.line.push(',');
                    put_ms(&mut self.line, length_ns / 1_000_000);
                    self.line.push(',');
                    put_ms(&mut self.line, histogram.max() / 1_000);
                    self.line.push(',');
                    STANDARD.encode_string(&self.encoded, &mut self.line);
                    self.line.push('\n');
                    histogram.reset();
                }
            }
        }
        interval.start_ns = end_ns;
        self.out.write_all(self.line.as_bytes())
    }
}

/// A number of thousandths with its point: ms as seconds, µs as ms.
fn put_ms(line: &mut String, thousandths: u64) {
    let _ = write!(line, "{}.{:03}", thousandths / 1_000, thousandths % 1_000);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    #[test]
    fn the_log_is_read_back_by_the_library_with_tags_times_and_counts() {
        let clock = Clock::start();
        let mut out = Vec::new();
        let mut log = IntervalLog::begin(&mut out, &clock).expect("memory");
        let mut interval = Interval::starting_at(0);
        interval.record(F::LedgerAdd, OpType::Ok, 1_000, Some(2_000), 5_001_000);
        interval.record(F::LedgerAdd, OpType::Fail, 0, None, 9_000_000);
        log.write(&mut interval, 1_000_000_000).expect("memory");
        interval.record(F::Probe, OpType::Info, 0, Some(1), 2_000_000_000);
        log.write(&mut interval, 2_500_000_000).expect("memory");

        let mut seen = Vec::new();
        for entry in IntervalLogIterator::new(&out) {
            if let LogEntry::Interval(line) = entry.expect("every line parses") {
                let bytes = STANDARD.decode(line.encoded_histogram()).expect("base64");
                let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("V2, deflated");
                seen.push((
                    line.tag().expect("tagged").to_string(),
                    line.start_timestamp(),
                    line.duration(),
                    histogram.len(),
                    histogram.max(),
                ));
            }
        }
        let tags: Vec<_> = seen.iter().map(|line| line.0.as_str()).collect();
        assert_eq!(
            tags,
            ["ledger-add.ok.response", "ledger-add.ok.service", "ledger-add.fail.response", "probe.info.response", "probe.info.service"]
        );
        assert_eq!((seen[0].1, seen[0].2), (Duration::ZERO, Duration::from_secs(1)));
        assert_eq!((seen[3].1, seen[3].2), (Duration::from_secs(1), Duration::from_millis(1500)));
        assert!(seen.iter().all(|line| line.3 == 1));
        // Three digits: within a thousandth of 5 ms.
        assert!(seen[0].4.abs_diff(5_000_000) <= 5_000);
    }
}
