//! How pods of an old template give way to pods of a new one.

use std::sync::Arc;

use serde_json::Value;

use super::{Deployments, View, replicas};
use crate::controllers::ownership::{finished, owned};
use crate::store::PODS;

impl Deployments {
    /// A paused deployment is scaled but not rolled out.
    pub(super) fn scale_paused(&self, view: &View) {
        if let Some(active) = view.current.as_ref().or(view.old.last()) {
            self.resize(&view.deployment, active, view.replicas());
        }
    }

    /// Recreate: the old pods must be gone, processes and all, before the first new one is made.
    pub(super) fn recreate(&self, view: &View) {
        let mut scaled_down = false;
        for set in &view.old {
            scaled_down |= self.resize(&view.deployment, set, 0);
        }
        let runs = |set: &Arc<Value>| owned(&self.store, &PODS, set).iter().any(|pod| !finished(pod));
        if scaled_down || view.old.iter().any(runs) {
            return;
        }
        match &view.current {
            Some(set) => {
                self.resize(&view.deployment, set, view.replicas());
            }
            None => {
                self.create_current(view, view.replicas());
            }
        }
    }

    /// RollingUpdate: never more pods than `maxSurge` allows, never fewer available ones than `maxUnavailable` allows.
    pub(super) fn roll(&self, view: &View) {
        let wanted = view.replicas();
        let (surge, unavailable) = bounds(view);
        let old_total: i64 = view.old.iter().map(|set| replicas(set)).sum();
        let Some(current) = &view.current else {
            self.create_current(view, (wanted + surge - old_total).clamp(0, wanted));
            return;
        };
        let size = replicas(current);
        let grown = if size >= wanted { wanted } else { (size + (wanted + surge - old_total - size).max(0)).min(wanted) };
        if self.resize(&view.deployment, current, grown) {
            return;
        }
        if old_total == 0 {
            return;
        }
        let count = |set: &Value, field: &str| set.pointer(&format!("/status/{field}")).and_then(Value::as_i64).unwrap_or(0);
        let new_unavailable = size - count(current, "availableReplicas");
        let mut removable = old_total + size - (wanted - unavailable) - new_unavailable;
        // Old pods that are not available go first: they serve nobody.
        for broken_only in [true, false] {
            for set in &view.old {
                let (size, available) = (replicas(set), count(set, "availableReplicas"));
                let candidates = if broken_only { size - available } else { size };
                let spare = if broken_only { removable } else { removable.min(self.spare(view, wanted - unavailable)) };
                let fewer = candidates.min(spare).max(0);
                if fewer > 0 && self.resize(&view.deployment, set, size - fewer) {
                    removable -= fewer;
                    if !broken_only {
                        return;
                    }
                }
            }
        }
    }

    /// Available pods beyond the minimum.
    fn spare(&self, view: &View, minimum: i64) -> i64 {
        let available = |set: &Arc<Value>| set.pointer("/status/availableReplicas").and_then(Value::as_i64).unwrap_or(0);
        view.all().map(available).sum::<i64>() - minimum
    }
}

/// `maxSurge` (rounded up) and `maxUnavailable` (rounded down); they are never both zero.
pub(super) fn bounds(view: &View) -> (i64, i64) {
    let wanted = view.replicas();
    let part = |field: &str, up: bool| {
        let value = view.deployment.pointer(&format!("/spec/strategy/rollingUpdate/{field}"));
        let percent = value.and_then(Value::as_str).and_then(|text| text.strip_suffix('%')).and_then(|text| text.parse::<i64>().ok());
        match (value.and_then(Value::as_i64), percent) {
            (Some(count), _) => count,
            (None, Some(percent)) if up => (wanted * percent + 99) / 100,
            (None, percent) => wanted * percent.unwrap_or(25) / 100,
        }
    };
    let (surge, unavailable) = (part("maxSurge", true), part("maxUnavailable", false));
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}
