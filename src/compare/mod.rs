//! Runs against runs: is the new one worse, better, or is there no evidence? And over many runs: when did it change?
//!
//! Everything here is a fold over `report.json` files. [`compare`] is a gate: it says *worse* only where the difference is larger than chance explains and larger than
//! a reader cares about, and says so plainly where there are too few repeats to tell. Its assumptions are written down in [`ranks`] and [`gate`].

mod changes;
mod figures;
mod gate;
mod history;
mod load;
pub mod ranks;
mod text;
mod trend_page;

pub use changes::change_points;
pub use figures::{Figure, figures};
pub use gate::{Change, Comparison, Findings, Gate, Judgement, compare};
pub use history::{Trend, TrendPoint, history};
pub use load::{LoadError, load};
pub use text::{comparison_text, history_text};
pub use trend_page::trend_page;
