//! The picture of a cycle of dependencies: transactions on a ring, and what leads from each to the next.

use std::f64::consts::TAU;
use std::fmt::Write;

use super::markup::Text;
use crate::report::model::{CycleStep, Example};

/// More steps than this are no picture any more; the sentences tell them.
const STEPS_MAX: usize = 16;
/// The half width of a transaction, its half height, and what its letters need around the ring.
const NODE: (f64, f64) = (38.0, 15.0);
const MARGIN: (f64, f64) = (120.0, 46.0);

/// A point of the picture.
type Point = (f64, f64);

/// Draws the cycle of an anomaly that has one.
pub(super) fn cycle(page: &mut String, example: &Example) {
    let steps = &example.cycle;
    let Some(count) = u32::try_from(steps.len()).ok().filter(|_| (2..=STEPS_MAX).contains(&steps.len())) else { return };
    let radius = (24.0 * f64::from(count)).max(70.0);
    let centre = (radius + MARGIN.0, radius + MARGIN.1);
    // The first transaction stands at the top, or at the left of two.
    let begin = if count == 2 { TAU / 2.0 } else { -TAU / 4.0 };
    let angle = |at: u32| begin + TAU * f64::from(at % count) / f64::from(count);
    let place = |at: u32| (centre.0 + radius * angle(at).cos(), centre.1 + radius * angle(at).sin());
    let (width, height) = (2.0 * centre.0, 2.0 * centre.1);
    let _ = write!(
        page,
        "<svg class=\"cycle\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         style=\"display:block;max-width:100%;font-size:12px\">",
        Text(&format!("{}: {}", example.class, example.detail)),
    );
    for (at, step) in (0..).zip(steps) {
        arrow(page, step, place(at), place(at + 1), middle(centre, radius, angle(at), TAU / f64::from(count)));
    }
    for (at, step) in (0..).zip(steps) {
        let (x, y) = place(at);
        let _ = write!(
            page,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.0}\" height=\"{:.0}\" rx=\"6\" fill=\"var(--card)\" stroke=\"var(--ink)\"/>\
             <text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" dominant-baseline=\"central\" fill=\"var(--ink)\">op {}</text>",
            x - NODE.0,
            y - NODE.1,
            2.0 * NODE.0,
            2.0 * NODE.1,
            step.from,
        );
    }
    page.push_str("</svg>");
}

/// Where an arrow passes between two transactions: on the ring, and further out where there are few of them, so that two arrows stay apart.
fn middle(centre: Point, radius: f64, angle: f64, turn: f64) -> Point {
    let out = if turn > TAU / 3.0 { radius * 0.75 } else { radius * 1.02 };
    let at = angle + turn / 2.0;
    (centre.0 + out * at.cos(), centre.1 + out * at.sin())
}

/// A curve from one transaction to the next by way of a point, with its word there and its head at the border of the second.
fn arrow(page: &mut String, step: &CycleStep, from: Point, to: Point, by: Point) {
    // The control point of the quadratic curve that passes through `by` half way.
    let control = (2.0 * by.0 - (from.0 + to.0) / 2.0, 2.0 * by.1 - (from.1 + to.1) / 2.0);
    let head = border(control, to);
    let (dx, dy) = unit(control, head);
    let colour = match step.kind.as_str() {
        "ww" => "var(--accent)",
        "wr" => "var(--ok)",
        "rw" => "var(--fail)",
        _ => "var(--soft)",
    };
    let dashes = if matches!(step.kind.as_str(), "ww" | "wr" | "rw") { "" } else { " stroke-dasharray=\"5 3\"" };
    let (left, right) =
        ((head.0 - 9.0 * dx - 4.0 * dy, head.1 - 9.0 * dy + 4.0 * dx), (head.0 - 9.0 * dx + 4.0 * dy, head.1 - 9.0 * dy - 4.0 * dx));
    let _ = write!(
        page,
        "<path d=\"M{:.1} {:.1}Q{:.1} {:.1} {:.1} {:.1}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"{dashes}/>\
         <path d=\"M{:.1} {:.1}L{:.1} {:.1}L{:.1} {:.1}Z\" fill=\"{colour}\"/>",
        from.0, from.1, control.0, control.1, head.0, head.1, head.0, head.1, left.0, left.1, right.0, right.1,
    );
    let key = step.key.map(|key| format!(" key {key}")).unwrap_or_default();
    let _ = write!(
        page,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" dominant-baseline=\"central\" fill=\"{colour}\" stroke=\"var(--card)\" stroke-width=\"4\" \
         paint-order=\"stroke\">{}{key}</text>",
        by.0,
        by.1,
        Text(&step.kind),
    );
}

/// The direction from one point to another.
fn unit(from: Point, to: Point) -> Point {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1e-6);
    (dx / length, dy / length)
}

/// Where a line from a point to the middle of a transaction meets its border.
fn border(from: Point, to: Point) -> Point {
    let (dx, dy) = unit(to, from);
    let reach = (NODE.0 / dx.abs().max(1e-6)).min(NODE.1 / dy.abs().max(1e-6));
    (to.0 + reach * dx, to.1 + reach * dy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(steps: &[(u64, u64, &str, Option<u64>)]) -> String {
        let cycle_of = |&(from, to, kind, key): &(u64, u64, &str, Option<u64>)| CycleStep { from, to, kind: kind.to_owned(), key };
        let example = Example {
            class: "G2-item".to_owned(),
            key: None,
            detail: "<b>told</b>".to_owned(),
            ops: Vec::new(),
            cycle: steps.iter().map(cycle_of).collect(),
        };
        let mut page = String::new();
        cycle(&mut page, &example);
        page
    }

    #[test]
    fn every_transaction_and_every_dependency_is_drawn_with_its_key() {
        let page = drawn(&[(5, 9, "rw", Some(1)), (9, 12, "wr", Some(2)), (12, 5, "realtime", None)]);
        for text in [">op 5<", ">op 9<", ">op 12<", ">rw key 1<", ">wr key 2<", ">realtime<"] {
            assert_eq!(page.matches(text).count(), 1, "{text} in {page}");
        }
        assert!(page.contains("aria-label=\"G2-item: &lt;b&gt;told"));
        assert!(page.contains("viewBox=\"0 0 384 236\" width=\"384\""), "{page}");
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn two_arrows_between_two_transactions_stay_apart() {
        let page = drawn(&[(5, 9, "rw", Some(1)), (9, 5, "rw", Some(2))]);
        let y = |word: &str| -> f64 {
            let before = page.split(word).next().expect("a split has a first part");
            let at = before.rfind(" y=\"").expect("a text has a place") + 4;
            before[at..].split('"').next().expect("a quote").parse().expect("a number")
        };
        assert!((y(">rw key 1<") - y(">rw key 2<")).abs() > 60.0);
    }

    #[test]
    fn what_is_no_cycle_has_no_picture() {
        assert_eq!(drawn(&[]), "");
        let many: Vec<_> = (0..40).map(|at| (at, at + 1, "ww", Some(1))).collect();
        assert_eq!(drawn(&many), "");
    }
}
