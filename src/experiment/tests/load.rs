//! Rates, steps and durations.

use super::*;

#[test]
fn a_load_can_have_steps_and_ramps_or_be_a_closed_loop() {
    let pace = |rate: &str| {
        parse("x.yaml", &format!("name: x\ntarget: {{ engine: tds-sqlite }}\nworkload: {{ rate: {rate} }}\nfaults:\n  - pod-kill:\n"))
    };
    let plan = pace("[{ for: 30s, at: 10/s }, { for: 1m, at: 10/s, to: 50/s }, { at: 50/s }]").expect("it is valid");
    assert_eq!(plan.workload.rate.to_string(), "10/s for 30s, then 10/s to 50/s for 1m, then 50/s");
    assert_eq!(plan.workload.rate.highest(), Some(50.0));
    assert_eq!(pace("closed").expect("it is valid").workload.rate, Pace::Closed);
    for (rate, what) in [
        ("[]", "workload.rate: has 0 steps, expected 1 to 100"),
        ("[{ at: 5/s }, { at: 6/s }]", "workload.rate[0].for: is missing, expected how long this step lasts"),
        ("[{ at: 5/s, for: 3s }]", "workload.rate[0].for: stands at the last step"),
        ("[{ at: 5/s, to: 9/s }]", "workload.rate[0].for: is missing, expected how long the ramp takes"),
        ("[{ for: 3s }, { at: 5/s }]", "workload.rate[0].at: is missing"),
        ("[{ at: 0/s }]", "workload.rate[0].at: is `0/s`, expected a rate above zero"),
        ("[5/s]", "workload.rate[0]: is "),
    ] {
        let mistakes = pace(rate).expect_err(rate).to_string();
        assert!(mistakes.contains(what), "{rate}: {mistakes}");
    }
}

#[test]
fn rates_are_positive_and_bounded() {
    for (rate, what) in [
        ("0/s", "is `0/s`, expected a rate above zero, such as 200/s"),
        ("-5/s", "is `-5/s`, expected a rate above zero, such as 200/s"),
        ("1/x", "`1/x` is not a rate such as 200/s or 30/m"),
        ("nan/s", "`nan/s` is not a rate such as 200/s or 30/m"),
        ("1e9/s", "is `1e9/s`, expected at most 100000/s"),
        ("1e-300/s", "is `1e-300/s`, expected at least one op a day"),
        ("{ from: 1/s }", "is a mapping, expected a rate such as 200/s, `closed`, or a list of steps"),
        ("", "is nothing, expected a rate such as 200/s, `closed`, or a list of steps"),
    ] {
        // The scanner places nothing right behind the colon.
        let column = if rate.is_empty() { 7 } else { 9 };
        minimal_and(&format!("workload:\n  rate: {rate}\n"), &format!("7:{column}: workload.rate: {what}"));
    }
}

#[test]
fn durations_need_a_unit_and_a_bound() {
    for (duration, what) in [
        ("30", "`30` has no unit, expected a duration such as 30s, 250ms or 1m30s"),
        ("0s", "is `0s`, expected a duration above zero"),
        ("-1s", "`-1s` is not a duration such as 30s, 250ms or 1m30s"),
        ("25h", "is `25h`, expected at most 24h"),
        ("99999999999999h", "`99999999999999h` is out of range"),
        ("[1s]", "is a list, expected a duration such as 30s"),
    ] {
        minimal_and(&format!("workload:\n  opTimeout: {duration}\n"), &format!("7:14: workload.opTimeout: {what}"));
    }
}
