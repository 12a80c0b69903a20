//! Response times over time as a heat map: what percentile lines hide, such as two populations at once, or the ramp of ops that waited for one outage's end.

use std::fmt::Write;

use super::markup::count;
use super::plot::{self, LogScale};
use super::timeline::{Axis, open_plot};
use crate::measure::{Bin, Series};
use crate::model::Millis;

/// Intervals are put together until there are no more columns than this.
const COLUMNS_MAX: usize = 1_024;
/// Neighbouring buckets that make a row; four rows an octave are as fine as the picture shows.
const TOGETHER: usize = 2;
/// Shades, by the logarithm of the count; even one op in an hour must be seen.
const SHADES: [&str; 6] = [".22", ".38", ".54", ".7", ".85", "1"];
/// How high the strip of ops that were not answered is.
const STRIP: f64 = 5.0;

/// Some intervals put together.
struct Column {
    /// Ops by row.
    rows: Vec<u64>,
    /// Ops that were due here and never answered.
    unanswered: u64,
}

/// A stretch of one row in one shade.
struct Stretch {
    row: usize,
    shade: usize,
    from: usize,
    columns: usize,
}

pub(super) fn heat(page: &mut String, series: &Series, scale: LogScale, axis: &Axis) {
    let together = series.bins.len().div_ceil(COLUMNS_MAX).max(1);
    let columns: Vec<Column> = series.bins.chunks(together).map(column).collect();
    let width_ms = Millis::from_ns(series.bin_ns * together as u64).0;
    let most = columns.iter().flat_map(|column| &column.rows).copied().max().unwrap_or(0);
    let unanswered: u64 = columns.iter().map(|column| column.unanswered).sum();
    let words = format!("1 to {} ops of one response time", count(most));
    let strip = format!("not answered ({})", count(unanswered));
    let mut legend = vec![("heat", words.as_str())];
    if unanswered > 0 {
        legend.push(("fail", strip.as_str()));
    }
    open_plot(
        page,
        "How response times are spread, by when ops were due",
        &legend,
        &format!("Heat map of response times over time; {} ops were not answered", count(unanswered)),
        "",
        axis,
    );
    let ticks = scale.ticks();
    plot::grid(page, &ticks, 0.0, axis.span_ms);
    cells(page, &columns, most, scale, width_ms);
    let gaps = columns.iter().map(|column| usize::from(column.unanswered > 0));
    let _ = write!(page, "<path class=\"cells\" stroke=\"var(--fail)\" stroke-width=\"{STRIP}\" d=\"");
    for stretch in stretches(0, gaps) {
        line(page, &stretch, STRIP / 2.0, width_ms);
    }
    page.push_str("\"/></svg>");
    plot::labels(page, &ticks);
    page.push_str("</div></div>\n");
}

fn column(bins: &[Bin]) -> Column {
    let mut column = Column { rows: vec![0; Series::BUCKETS.div_ceil(TOGETHER)], unanswered: 0 };
    for bin in bins {
        let mut answered = 0;
        for (bucket, &ops) in bin.counts().iter().enumerate() {
            column.rows[bucket / TOGETHER] += u64::from(ops);
            answered += u64::from(ops);
        }
        column.unanswered += u64::from(bin.due).saturating_sub(answered);
    }
    column
}

/// A path for each shade and each height of a row: a line as thick as the row is high, broken where there was nothing.
fn cells(page: &mut String, columns: &[Column], most: u64, scale: LogScale, width_ms: f64) {
    let rows = columns.first().map_or(0, |column| column.rows.len());
    let mut all: Vec<Stretch> =
        (0..rows).flat_map(|row| stretches(row, columns.iter().map(move |column| shade(column.rows[row], most)))).collect();
    let sub = |row: usize| row % (Series::BUCKETS_AN_OCTAVE / TOGETHER);
    all.sort_by_key(|stretch| (stretch.shade, sub(stretch.row), stretch.row, stretch.from));
    for of_path in all.chunk_by(|a, b| (a.shade, sub(a.row)) == (b.shade, sub(b.row))) {
        let y = |row: usize| (scale.y(Series::bucket_from_ns((row + 1) * TOGETHER)), scale.y(Series::bucket_from_ns(row * TOGETHER)));
        let (top, bottom) = y(of_path[0].row);
        let _ = write!(
            page,
            "<path class=\"cells\" stroke=\"var(--heat)\" stroke-opacity=\"{}\" stroke-width=\"{:.2}\" d=\"",
            SHADES[of_path[0].shade - 1],
            bottom - top
        );
        for stretch in of_path {
            let (top, bottom) = y(stretch.row);
            line(page, stretch, f64::midpoint(top, bottom), width_ms);
        }
        page.push_str("\"/>");
    }
}

/// 0 for nothing, else from 1 up to the number of shades.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "logarithms of counts are small")]
fn shade(ops: u64, most: u64) -> usize {
    if ops == 0 {
        return 0;
    }
    let share = if most > 1 { (ops as f64).ln() / (most as f64).ln() } else { 1.0 };
    1 + (share * (SHADES.len() - 1) as f64).round() as usize
}

/// The stretches of a row that are not empty.
fn stretches(row: usize, shades: impl Iterator<Item = usize>) -> Vec<Stretch> {
    let mut found: Vec<Stretch> = Vec::new();
    for (at, shade) in shades.enumerate().filter(|&(_, shade)| shade > 0) {
        match found.last_mut() {
            Some(last) if last.shade == shade && last.from + last.columns == at => last.columns += 1,
            _ => found.push(Stretch { row, shade, from: at, columns: 1 }),
        }
    }
    found
}

fn line(page: &mut String, stretch: &Stretch, y: f64, width_ms: f64) {
    #[expect(clippy::cast_precision_loss, reason = "there are few columns")]
    let (from, columns) = (stretch.from as f64, stretch.columns as f64);
    let _ = write!(page, "M{:.0} {y:.1}h{:.0}", from * width_ms, columns * width_ms);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_op_is_seen_and_the_most_are_darkest() {
        assert_eq!([0, 1, 30, 1_000].map(|ops| shade(ops, 1_000)), [0, 1, 3, 6]);
        assert_eq!(shade(1, 1), SHADES.len());
    }

    #[test]
    fn neighbours_of_one_shade_are_one_stretch() {
        let found = stretches(3, [0, 2, 2, 1, 0, 1].into_iter());
        let told: Vec<_> = found.iter().map(|stretch| (stretch.shade, stretch.from, stretch.columns)).collect();
        assert_eq!(told, [(2, 1, 2), (1, 3, 1), (1, 5, 1)]);
    }
}
