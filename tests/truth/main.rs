//! Are phases where they are said to be? The harness's boundaries beside what `/proc` shows of the processes.

mod observer;

/// On a quiet machine the boundaries are within ten milliseconds (see `benches/phase_truth`). This machine may be compiling as well, and still no boundary may be as far
/// off as a second, which is what a look at the status once a second, or the stamps of the kubelet, would give.
#[test]
fn boundaries_are_where_the_processes_really_ended_and_began() {
    let late = observer::run(2);
    for name in ["old-container-gone", "container-started"] {
        let of_name: Vec<f64> = late.iter().filter(|late| late.name == name).map(|late| late.by_ms).collect();
        assert_eq!(of_name.len(), 3, "each fault has its boundary: {late:?}");
        // The observer itself looks once a millisecond.
        assert!(of_name.iter().all(|by_ms| (-50.0..700.0).contains(by_ms)), "{late:?}");
    }
}
