//! The JSON Schema of `report.json`, for programs that read it.
//!
//! Readers must ignore keys that they do not know: the version grows only when a reader of the version before could be misled. A test holds every report that the
//! tests make, and the committed sample, against this schema, and lets no key pass that is not named here.

use serde_json::{Map, Value, json};

use super::model::SCHEMA_VERSION;

/// The JSON Schema (draft 2020-12) of `report.json`.
pub fn schema() -> Value {
    let mut schema = object(
        "Everything that a run of `chaos` showed.",
        &[
            ("schemaVersion", json!({ "description": "The version of this format.", "const": SCHEMA_VERSION })),
            ("run", run()),
            ("verdict", word("The verdict.", &["pass", "inconclusive", "fail"])),
            ("reasons", texts("Why it is not a pass, worst first. Empty for a pass.")),
            ("notes", texts("What is worth knowing and decides nothing.")),
            ("claims", list("Every clause of the promise.", claim())),
            ("checks", list("Every check.", check())),
            ("faults", list("Every fault that was started or refused.", fault())),
            ("episodes", list("One outage a fault.", episode())),
            ("availability?", or_null(availability())),
            ("latency", latency()),
            ("latencyByOp?", list("Latencies by kind of op, stage of the run and outcome; no row where there was no op.", op_latency())),
            ("loadSteps?", list("How the target carried each step of the load; empty of a load without steps.", load_step())),
            ("schedule", or_null(schedule())),
            ("recorded", recorded()),
            ("limits", texts("What this run could not show.")),
            ("leaks", leaks()),
            ("artifacts", texts("The files of the run's folder.")),
        ],
    );
    let object = schema.as_object_mut().expect("an object was just made");
    let mut top = Map::new();
    top.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    top.insert("title".to_owned(), json!("chaos report"));
    top.append(object);
    Value::Object(top)
}

/// An object. A name with a question mark may be absent.
fn object(about: &str, fields: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = fields.iter().map(|(name, _)| *name).filter(|name| !name.ends_with('?')).collect();
    let properties: Map<String, Value> =
        fields.iter().map(|(name, schema)| (name.trim_end_matches('?').to_owned(), schema.clone())).collect();
    json!({ "description": about, "type": "object", "properties": properties, "required": required })
}

fn list(about: &str, items: Value) -> Value {
    json!({ "description": about, "type": "array", "items": items })
}

fn texts(about: &str) -> Value {
    list(about, json!({ "type": "string" }))
}

fn text(about: &str) -> Value {
    json!({ "description": about, "type": "string" })
}

fn word(about: &str, words: &[&str]) -> Value {
    json!({ "description": about, "enum": words })
}

fn count(about: &str) -> Value {
    json!({ "description": about, "type": "integer", "minimum": 0 })
}

fn millis(about: &str) -> Value {
    json!({ "description": format!("{about} In ms."), "type": "number", "minimum": 0 })
}

fn switch(about: &str) -> Value {
    json!({ "description": about, "type": "boolean" })
}

fn or_null(mut schema: Value) -> Value {
    schema["type"] = json!([schema["type"], "null"]);
    schema
}

const VERDICTS: [&str; 3] = ["valid", "unknown", "invalid"];

fn run() -> Value {
    let engine = object(
        "The engine under test.",
        &[("name", text("Its name in the experiment file.")), ("version", text("Its product version; empty where it was never asked."))],
    );
    let harness =
        object("The harness.", &[("version", text("Its version.")), ("commit", text("The commit it was built from, where known."))]);
    object(
        "Who, what, where, when.",
        &[
            ("id", text("The run's id, also its folder's name.")),
            ("experiment", text("The experiment's name.")),
            ("description", text("What the experiment shows.")),
            ("experimentHash?", text("SHA-256 of the experiment as resolved, but for seed and cluster.")),
            ("seed", count("The seed in force.")),
            ("startedAt", text("RFC 3339, UTC.")),
            ("durationMs", millis("From the start to the last event.")),
            ("provider", word("Where the cluster came from.", &["sandbox", "kind", "k3d", "context"])),
            ("cluster", text("Which one.")),
            ("clock?", or_null(clock())),
            ("namespace", text("The target's namespace.")),
            ("kubernetesVersion", or_null(text("As `/version` tells it, where it was asked."))),
            ("engine", engine),
            ("harness", harness),
        ],
    )
}

fn clock() -> Value {
    object(
        "The API server's clock beside the harness's, which times everything; null where they were not compared.",
        &[
            ("offsetMs", json!({ "description": "Its time less ours. In ms, below 0 where it is behind.", "type": "number" })),
            ("withinMs", millis("How far off that may be.")),
            ("roundTripMs", millis("The shortest round trip to it.")),
        ],
    )
}

fn availability() -> Value {
    let share = |about: &str| json!({ "description": about, "type": "number", "minimum": 0, "maximum": 1 });
    object(
        "How much of the load was served; null of a run without load.",
        &[
            ("due", count("Ops that were due.")),
            ("answered", count("Those that happened, or were declined by their own condition.")),
            ("opsRatio", share("The second as a share of the first.")),
            ("timeRatio", share("The share of the load's time that is in no outage.")),
            (
                "apdex",
                share(
                    "Ops answered within 100 ms of when they were due, and half of those within 400 ms, as a share of all that were due.",
                ),
            ),
        ],
    )
}

fn claim() -> Value {
    object(
        "One clause of the promise.",
        &[
            ("id", word("Which.", &["HA-1", "HA-2", "HA-3", "HA-4", "HA-5", "HA-6", "HA-7"])),
            ("statement", text("The clause as a sentence.")),
            ("verdict", word("Whether it holds.", &VERDICTS)),
            ("expected", switch("Whether the experiment expects it, so that it decides the verdict.")),
            ("evidence", texts("What decided it, worst first.")),
        ],
    )
}

fn check() -> Value {
    let op = object(
        "One op-transition of the history.",
        &[
            ("index", count("Its index: also its line in `history.jsonl`, from 0.")),
            ("timeMs", millis("When it was seen.")),
            ("type", word("Which transition.", &["invoke", "ok", "fail", "info"])),
            ("process", count("Whose.")),
            ("f", text("What op.")),
        ],
    );
    let step = object(
        "Why one transaction of a cycle comes before the next.",
        &[
            ("from", count("The op that comes before: its line in `history.jsonl`, from 0.")),
            ("to", count("The op that comes after.")),
            ("kind", word("How.", &["ww", "wr", "rw", "process", "realtime"])),
            ("key?", count("The list that shows it, of the first three.")),
        ],
    );
    let example = object(
        "One anomaly.",
        &[
            ("class", text("Such as `lost`.")),
            ("key?", count("The ledger key.")),
            ("detail", text("What is wrong.")),
            ("ops", list("The ops that prove it.", op)),
            ("cycle?", list("Of a cycle of transactions: what leads from each to the next, and from the last to the first.", step)),
        ],
    );
    object(
        "One check.",
        &[
            ("name", text("Its name.")),
            ("decides", word("The claim that it decides.", &["HA-1", "HA-2", "HA-3", "HA-4", "HA-5", "HA-6", "HA-7"])),
            ("verdict", word("What it found.", &VERDICTS)),
            ("counts", json!({ "description": "Its accounting.", "type": "object", "additionalProperties": count("How many.") })),
            ("evidence", texts("What decided it.")),
            ("examples", list("The ops that prove each anomaly, up to 20 of each class.", example)),
        ],
    )
}

fn fault() -> Value {
    let owner = object("Of a pod: its controlling owner.", &[("kind", text("Kind.")), ("name", text("Name.")), ("uid", text("Uid."))]);
    let target = object(
        "What it was aimed at; null of a fault that was refused before it had a target.",
        &[
            ("kind", text("`Pod`, `Node`, `Container`, `Deployment`.")),
            ("name", text("Its name.")),
            ("uid", text("Its uid.")),
            ("node", text("The node that it is on.")),
            ("owner?", owner),
        ],
    );
    object(
        "One fault.",
        &[
            ("id", text("Unique in the run.")),
            ("kind", text("Such as `pod-kill`.")),
            ("target", or_null(target)),
            ("parameters", text("The parameters in force.")),
            ("reach", text("The class of durability bug that it can reveal.")),
            ("injectedAtMs", or_null(millis("When the mutation was accepted."))),
            ("inFlight", or_null(count("Ops that were sent and not answered at that instant."))),
            ("sinceLastAckMs", or_null(millis("How long before that instant a commit was last acknowledged."))),
            ("attested", or_null(switch("Whether it really took effect; null where that was not weighed."))),
            ("evidence", texts("What that rests on.")),
            ("recovered", or_null(switch("Whether the target became whole again; null where the run ended first."))),
            ("lastSeen", text("What was last seen of a target that did not.")),
            ("healedAtMs", or_null(millis("When it was healed."))),
            ("refused", or_null(text("Why it was not injected."))),
        ],
    )
}

fn episode() -> Value {
    let phase = object(
        "One phase of the outage.",
        &[
            ("name", text("The boundary that ends it.")),
            ("startMs", millis("When it starts.")),
            ("durationMs", millis("How long it takes.")),
            ("source", text("Who saw the boundary.")),
            (
                "uncertaintyMs?",
                or_null(millis("By how much what the boundary stands for may have happened before it was seen; null where nothing tells.")),
            ),
        ],
    );
    object(
        "One outage as clients saw it.",
        &[
            ("faultId", text("The fault.")),
            ("startMs", millis("The last acknowledgement before it; without an outage, the fault's start.")),
            ("outageMs", millis("How long; 0 where no client saw an error.")),
            ("ended", switch("False where it had not ended when the window closed, so that it is longer than told.")),
            ("seenBy", word("Whose commits show it.", &["everyone", "new-connections", "nobody"])),
            ("firstErrorMs", or_null(millis("The first error in the outage, else in the fault's window."))),
            ("lastErrorMs", or_null(millis("The last error that belongs to the fault."))),
            ("firstCommitMs", or_null(millis("The commit that ended it."))),
            ("largestGapMs", millis("The longest time between two commits in the fault's window.")),
            ("errors", count("Errors that clients saw.")),
            ("commits", count("Commits in the fault's window.")),
            ("phases", list("Where the time went, summing exactly to the outage.", phase)),
            ("newConnections?", or_null(new_connections())),
            ("sessions?", or_null(sessions())),
        ],
    )
}

fn summary(about: &str) -> Value {
    object(
        about,
        &[
            ("count", count("How many ended.")),
            ("censored", count("How many never did; they are longer than any figure here.")),
            ("p50Ms", millis("The median.")),
            ("p90Ms", millis("The 90th percentile.")),
            ("p99Ms", millis("The 99th percentile.")),
            ("p999Ms", millis("The 99.9th percentile.")),
            ("maxMs", millis("The longest.")),
        ],
    )
}

fn repeats(about: &str) -> Value {
    let interval = json!({
        "description": "The 95 % confidence interval of the median, in ms; null where there are too few outages for one.",
        "type": ["array", "null"], "items": { "type": "number" }, "minItems": 2
    });
    object(
        about,
        &[
            ("count", count("How many.")),
            ("censored", count("How many did not end, counted with how long they were seen.")),
            ("minMs", millis("The shortest.")),
            ("p50Ms", millis("The median.")),
            ("p99Ms", millis("The 99th percentile by nearest rank.")),
            ("maxMs", millis("The longest.")),
            ("p50IntervalMs?", interval),
        ],
    )
}

fn new_connections() -> Value {
    object(
        "How far new connections got, from the start of the outage; null where they were never cut off.",
        &[
            ("tcpMs", or_null(millis("The TCP connection was accepted; null where that never failed."))),
            ("loginMs", or_null(millis("The login was accepted; null where that never failed."))),
            ("commitMs", or_null(millis("A commit was acknowledged."))),
        ],
    )
}

fn sessions() -> Value {
    object(
        "How the sessions of the workload's clients fared; null where none was lost.",
        &[
            ("lost", count("Sessions that were lost.")),
            ("back", count("How many of their clients had an op acknowledged again before the next fault.")),
            (
                "noticedBy",
                json!({ "description": "How clients noticed: `reset`, `closed`, `timeout`, or the number of the server's error.",
                        "type": "object", "additionalProperties": count("How many.") }),
            ),
            ("noticed", repeats("From the start of the fault until a client noticed.")),
            ("login", repeats("From then until its next login was accepted.")),
            ("commit", repeats("From then until its next op was acknowledged.")),
        ],
    )
}

fn latency() -> Value {
    let by_outcome = |about: &str| {
        object(
            about,
            &[
                ("ok", summary("Of the ops that happened. Ops that never ended are counted here.")),
                ("fail", summary("Of those that did not.")),
                ("info", summary("Of those that may have.")),
            ],
        )
    };
    let stage = |about: &str| {
        object(
            about,
            &[
                ("response", summary("Of those that happened; those that never ended are counted as censored.")),
                ("failed", count("How many did not happen.")),
                ("unknown", count("How many may have happened.")),
            ],
        )
    };
    object(
        "Latencies of the workload and the prober.",
        &[
            ("response", by_outcome("From when an op of the workload was due.")),
            ("service", by_outcome("From when it was sent.")),
            ("connect", summary("Connect, login and commit of the prober, where it committed.")),
            ("reconnect", repeats("The outages of the episodes.")),
            (
                "stages?",
                object(
                    "Response times by when an op was due.",
                    &[
                        ("before", stage("Before the first fault: the baseline.")),
                        ("during", stage("Between the start of a fault and its recovery.")),
                        ("after", stage("After a recovery.")),
                    ],
                ),
            ),
        ],
    )
}

fn op_latency() -> Value {
    object(
        "Times of one kind of op that ended one way, of the ops that were due in one stage of the run.",
        &[
            ("f", text("What op, as the history names it.")),
            ("stage", word("Before the first fault, while one was in force, or after a recovery.", &["before", "during", "after"])),
            (
                "outcome",
                word("How they ended. Those that never did are counted as censored with `info`.", &["ok", "declined", "fail", "info"]),
            ),
            ("response", summary("From when they were due.")),
            ("service", summary("From when they were sent.")),
        ],
    )
}

fn load_step() -> Value {
    object(
        "One step of the load. Ops that were due while a fault was in force are left out.",
        &[
            ("step", text("The step as the experiment says it, such as `100/s for 30s`.")),
            ("fromMs", millis("When it began.")),
            ("response", summary("Of the ops that happened; those that never ended are censored.")),
            ("failed", count("How many others did not happen.")),
            ("unknown", count("How many may have happened.")),
        ],
    )
}

fn schedule() -> Value {
    let lateness = object(
        "How late ops were issued.",
        &[
            ("p50Ms", millis("The median.")),
            ("p90Ms", millis("The 90th percentile.")),
            ("p99Ms", millis("The 99th percentile.")),
            ("p999Ms", millis("The 99.9th percentile.")),
            ("maxMs", millis("The worst.")),
        ],
    );
    object(
        "How well the open-loop schedule was kept; null where the run did not get so far.",
        &[
            ("closedLoop?", switch("Whether the load was a closed loop, which has no schedule to be late for.")),
            ("issued", count("Ops issued.")),
            ("notSent", count("Ops that were due and could not be sent before the run ended.")),
            ("lateness", lateness),
            ("cpuPerOpUs", json!({ "description": "CPU time of the harness over ops issued, in µs.", "type": "number", "minimum": 0 })),
        ],
    )
}

fn recorded() -> Value {
    object(
        "What was recorded.",
        &[
            ("transitions", count("Whole lines of the history.")),
            ("unfinishedOps", count("Ops that began and never ended.")),
            ("tornBytes", count("Bytes of a last line that was cut off.")),
            ("events", count("Events of the timeline.")),
        ],
    )
}

fn leaks() -> Value {
    let item = object(
        "One thing.",
        &[
            ("what", text("What it is.")),
            ("mend", text("The command that mends it.")),
            ("kept?", switch("True where it was kept on purpose.")),
        ],
    );
    object(
        "What of ours was left in the cluster.",
        &[("left", list("What is left.", item)), ("kept", switch("Whether all of it was kept on purpose."))],
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::experiment::conforms;
    use crate::model::EventKind;
    use crate::report::build::RunBuilder;

    fn check(report: &crate::report::Report) {
        let value = serde_json::to_value(report).expect("a report is JSON");
        conforms(&value, &schema(), "report").unwrap_or_else(|why| panic!("{why}"));
    }

    #[test]
    fn reports_of_every_kind_conform() {
        check(&RunBuilder::passing().judge());
        let mut lost = RunBuilder::passing();
        lost.history.ops.retain(|op| op.f != crate::model::F::LedgerRead);
        lost.history.final_read(&[1, 2, 3]);
        check(&lost.judge());
        let mut empty = RunBuilder::passing();
        empty.history.ops.clear();
        empty.edit(|kind| matches!(kind, EventKind::RunStarted { .. }));
        check(&empty.judge());
        let mut refused = RunBuilder::passing();
        refused.edit(|kind| !matches!(kind, EventKind::FaultInjected { .. }));
        refused.at(3_001, EventKind::FaultRefused { fault: "pod-kill-9".to_owned(), reason: "the target vanished".to_owned() });
        check(&refused.judge());
    }

    #[test]
    fn what_is_not_a_report_does_not_conform() {
        let good = serde_json::to_value(RunBuilder::passing().judge()).expect("a report is JSON");
        for (pointer, wrong) in
            [("/verdict", json!("maybe")), ("/run/seed", json!(-1)), ("/claims/0/id", json!("HA-8")), ("/leaks", json!(null))]
        {
            let mut bad = good.clone();
            *bad.pointer_mut(pointer).expect("it is there") = wrong;
            assert!(conforms(&bad, &schema(), "report").is_err(), "{pointer}");
        }
    }

    #[test]
    fn the_committed_schema_is_this_one() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("reports/schema.json");
        let text = std::fs::read_to_string(path).expect("the schema is committed");
        let committed: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(committed, schema(), "run `just schema`");
    }
}
