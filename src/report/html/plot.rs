//! What every plot has: paths in a stretched SVG, and ticks as HTML text over it, so that text keeps its size whatever the width of the page.

use std::fmt::Write;

use crate::model::Millis;

/// The height of every plot in units of its own.
pub(super) const HEIGHT: f64 = 100.0;

/// A tick on the vertical axis.
pub(super) struct Tick {
    pub(super) y: f64,
    pub(super) label: String,
}

/// A scale for times: logarithmic, from one power of ten to another.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogScale {
    low: f64,
    high: f64,
}

impl LogScale {
    /// Wide enough for these times in ns, two decades at the least.
    pub(super) fn of(times_ns: impl Iterator<Item = u64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for ns in times_ns {
            let decade = decades(ns);
            low = low.min(decade);
            high = high.max(decade);
        }
        if low > high {
            (low, high) = (0.0, 3.0);
        }
        let low = low.floor();
        LogScale { low, high: high.ceil().max(low + 2.0) }
    }

    pub(super) fn y(self, ns: u64) -> f64 {
        HEIGHT * (1.0 - (decades(ns) - self.low) / (self.high - self.low))
    }

    pub(super) fn ticks(self) -> Vec<Tick> {
        let mut ticks = Vec::new();
        let mut decade = self.low;
        while decade < self.high {
            let label = time_label(10_f64.powf(decade));
            ticks.push(Tick { y: HEIGHT * (1.0 - (decade - self.low) / (self.high - self.low)), label });
            decade += 1.0;
        }
        ticks
    }
}

/// The power of ten of a time in ms.
fn decades(ns: u64) -> f64 {
    Millis::from_ns(ns.max(1_000)).0.log10()
}

/// `0.1 ms`, `10 ms`, `1 s`.
fn time_label(ms: f64) -> String {
    if ms < 0.999 {
        format!("{ms} ms")
    } else if ms < 999.0 {
        format!("{ms:.0} ms")
    } else {
        format!("{:.0} s", ms / 1_000.0)
    }
}

/// A round number that is at least this, and how many parts it is divided into.
pub(super) fn nice(value: f64) -> (f64, u32) {
    let unit = 10_f64.powf(value.max(1.0).log10().floor());
    for (times, parts) in [(1.0, 2), (2.0, 2), (3.0, 3), (5.0, 5), (10.0, 2)] {
        if value <= unit * times {
            return (unit * times, parts);
        }
    }
    (unit * 10.0, 2)
}

/// Ticks of a scale from 0 to `top`.
pub(super) fn linear_ticks(top: f64, parts: u32) -> Vec<Tick> {
    (0..parts)
        .map(|part| {
            let share = f64::from(part) / f64::from(parts);
            let value = top * share;
            let label = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") };
            Tick { y: HEIGHT * (1.0 - share), label }
        })
        .collect()
}

/// Grid lines, inside the SVG.
pub(super) fn grid(page: &mut String, ticks: &[Tick], from: f64, to: f64) {
    for tick in ticks.iter().filter(|tick| tick.y < HEIGHT - 0.5) {
        let _ = write!(page, "<line class=\"grid\" x1=\"{from:.0}\" x2=\"{to:.0}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>", y = tick.y);
    }
}

/// The labels of the ticks, outside the SVG.
pub(super) fn labels(page: &mut String, ticks: &[Tick]) {
    for tick in ticks {
        let _ = write!(page, "<span class=\"y\" style=\"top:{:.1}%\" aria-hidden=\"true\">{}</span>", tick.y, tick.label);
    }
}

/// A legend: colour, then words.
pub(super) fn legend(page: &mut String, entries: &[(&str, &str)]) {
    page.push_str("<ul class=\"legend\">");
    for (colour, words) in entries {
        let _ = write!(page, "<li><i style=\"background:var(--{colour})\"></i>{words}</li>");
    }
    page.push_str("</ul>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_hold_what_they_are_made_for() {
        let scale = LogScale::of([300_000, 1_200_000_000].into_iter());
        assert!((0.0..=HEIGHT).contains(&scale.y(300_000)));
        assert!((0.0..=HEIGHT).contains(&scale.y(1_200_000_000)));
        let labels: Vec<String> = scale.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0.1 ms", "1 ms", "10 ms", "100 ms", "1 s"]);
        for value in [0.4, 1.0, 7.0, 99.0, 230.0, 1_001.0] {
            assert!(nice(value).0 >= value, "{value}");
        }
    }
}
