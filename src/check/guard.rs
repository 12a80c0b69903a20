//! Keeps a defect in one checker from deciding a run: what panics is unknown.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::{Begun, OpView};

use super::{Check, Checker};

/// Runs a check and turns its panic into an unknown.
pub fn guarded(name: &'static str, check: impl FnOnce() -> Check) -> Check {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| crashed(name, &*panic))
}

/// A checker that is fed until it panics, and unknown from then on.
pub struct Guarded {
    name: &'static str,
    inner: Result<Box<dyn Checker>, Check>,
}

impl Guarded {
    /// Guards a checker.
    pub fn new(inner: Box<dyn Checker>) -> Self {
        Guarded { name: inner.name(), inner: Ok(inner) }
    }

    /// Hands on one transition.
    pub fn op(&mut self, op: &OpView<'_>, begun: Option<&Begun>) {
        let Ok(checker) = &mut self.inner else {
            return;
        };
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| checker.op(op, begun))) {
            self.inner = Err(crashed(self.name, &*panic));
        }
    }

    /// What the checker found, or that it crashed.
    pub fn finish(self) -> Check {
        match self.inner {
            Ok(checker) => guarded(self.name, || checker.finish()),
            Err(crash) => crash,
        }
    }
}

fn crashed(name: &'static str, panic: &(dyn std::any::Any + Send)) -> Check {
    let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    Check::unknown(name, format!("the checker crashed: {said}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::build::HistoryBuilder;
    use crate::model::Verdict;

    struct Crashing {
        at_finish: bool,
    }

    impl Checker for Crashing {
        fn name(&self) -> &'static str {
            "crashing"
        }

        fn op(&mut self, op: &OpView<'_>, _begun: Option<&Begun>) {
            assert!(self.at_finish, "bad op {}", op.index);
        }

        fn finish(self: Box<Self>) -> Check {
            panic!("bad end")
        }
    }

    #[test]
    fn a_crashing_checker_is_unknown() {
        for (at_finish, said) in [(false, "bad op 0"), (true, "bad end")] {
            let mut guarded = Guarded::new(Box::new(Crashing { at_finish }));
            let mut history = HistoryBuilder::new();
            history.acked(1);
            history.feed(|op, begun| guarded.op(op, begun));
            let check = guarded.finish();
            assert_eq!(check.verdict, Verdict::Unknown);
            assert!(check.evidence[0].contains(said), "{:?}", check.evidence);
        }
    }
}
