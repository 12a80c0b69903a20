//! A plan that is written reads as the same plan.

use proptest::prelude::*;

use super::*;

#[test]
fn the_hash_is_of_the_meaning() {
    let plan = parse("x.yaml", MINIMAL).unwrap();
    let same = parse("y.yaml", &format!("# a comment\n{MINIMAL}coldRead: true\n")).unwrap();
    let other = parse("x.yaml", &format!("{MINIMAL}coldRead: false\n")).unwrap();
    assert_eq!(hash(&plan), hash(&same));
    assert_ne!(hash(&plan), hash(&other));
    assert_eq!(hash(&plan).len(), 64);
}

#[test]
fn the_resolved_experiment_reads_as_the_same_plan() {
    for text in [MINIMAL, FULL] {
        let plan = parse("x.yaml", text).unwrap();
        assert_eq!(parse("y.yaml", &to_yaml(&plan)), Ok(plan));
    }
}

fn duration_within(least_ms: u64) -> impl Strategy<Value = Duration> {
    (least_ms..3_600_000).prop_map(Duration::from_millis)
}

/// Targets that the run deploys, and targets that stand.
fn targets() -> impl Strategy<Value = TargetPlan> {
    prop_oneof![3 => deployed_targets(), 1 => existing_targets()]
}

prop_compose! {
    fn existing_targets()(
        namespace in "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?",
        user in "[a-z][!-~]{0,20}",
        plan in deployed_targets(),
    ) -> TargetPlan {
        let TargetPlan { service, tls, ready_within, .. } = plan;
        let target = ExistingTarget {
            namespace,
            service: "mssql".to_owned(),
            secret: "mssql-sa".to_owned(),
            secret_key: "password".to_owned(),
            user,
        };
        let may_touch = Touch::ALL.iter().copied().collect();
        let Plan { target: defaults, .. } = parse("minimal.yaml", MINIMAL).unwrap();
        let existing = Some(ExistingPlan { target, may_touch });
        TargetPlan { engine: Engine::Existing, existing, service, tls, ready_within, ..defaults }
    }
}

prop_compose! {
    fn deployed_targets()(
        engine in prop::sample::select(vec![Engine::AzureSqlEdge, Engine::MssqlServer, Engine::TdsSqlite]),
        controller in prop::sample::select(Controller::ALL),
        access_mode in prop::sample::select(AccessMode::ALL),
        tls in prop::sample::select(Tls::ALL),
        image in prop::option::of("[a-z0-9][!-~]{0,40}"),
        class in prop::option::of("[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?"),
        sabotage in prop::option::of(prop::sample::select(Sabotage::ALL)),
        cache in prop::sample::select(Cache::ALL),
        size_mi in 1u64..100_000,
        grace_s in 0u64..86_400,
        ready_within in duration_within(1),
        service in prop::sample::select(vec![
            ServiceAccess::NodePort,
            ServiceAccess::LoadBalancer,
            ServiceAccess::Address("db.example:1433".to_owned()),
            ServiceAccess::Address("[::1]:31433".to_owned()),
        ]),
        ignore_sigterm in any::<bool>(),
    ) -> TargetPlan {
        TargetPlan {
            engine,
            existing: None,
            image,
            controller,
            storage: Storage { size: format!("{size_mi}Mi"), access_mode, class },
            grace: Duration::from_secs(grace_s),
            ready_within,
            service,
            tls,
            ignore_sigterm: ignore_sigterm && engine == Engine::TdsSqlite,
            cache: if engine == Engine::TdsSqlite { cache } else { Cache::Kernel },
            sabotage: sabotage.filter(|_| engine == Engine::TdsSqlite),
        }
    }
}

fn paces() -> impl Strategy<Value = Pace> {
    let rate = || (0.001f64..100_000.0).prop_map(|per_second| Rate { per_second });
    let step = (duration_within(1), rate(), prop::option::of(rate())).prop_map(|(lasts, at, to)| Step { lasts: Some(lasts), at, to });
    let steps = (prop::collection::vec(step, 0..4), rate()).prop_map(|(mut steps, at)| {
        steps.push(Step { lasts: None, at, to: None });
        Pace::Open(steps)
    });
    prop_oneof![1 => Just(Pace::Closed), 4 => steps]
}

fn own_sql() -> impl Strategy<Value = OwnSql> {
    let text = || "[ -~é\n\t]{0,20}".prop_map(|text| format!("SELECT {text}"));
    let statement = ("[ -?^-~]{0,20}", 1u32..1_000).prop_map(|(text, weight)| Statement { run: format!("SELECT @key, '{text}"), weight });
    let check = (text(), prop::sample::select(Returns::ALL)).prop_map(|(query, returns)| OwnCheck { query, returns });
    (prop::collection::vec(text(), 0..3), prop::collection::vec(statement, 1..4), prop::collection::vec(check, 1..4))
        .prop_map(|(setup, statements, checks)| OwnSql { setup, statements, checks })
}

prop_compose! {
    fn workloads()(
        ledger in 1u32..1_000_000,
        bank in prop::option::of(1u32..1_000_000),
        clients in 1u32..=1_000,
        rate in paces(),
        warm_up in duration_within(0),
        op_timeout in duration_within(1),
        isolation in prop::sample::select(Isolation::ALL),
        sql in prop::option::of((1u32..1_000_000, own_sql())),
    ) -> WorkloadPlan {
        let mut mix = BTreeMap::from([(WorkloadKind::Ledger, ledger)]);
        mix.extend(bank.map(|share| (WorkloadKind::Bank, share)));
        mix.extend(sql.as_ref().map(|(share, _)| (WorkloadKind::Sql, *share)));
        WorkloadPlan { mix, clients, rate, warm_up, op_timeout, isolation, sql: sql.map(|(_, own)| own) }
    }
}

fn schedules() -> impl Strategy<Value = Vec<PlannedFault>> {
    let fault = (prop::option::of(0u64..3_600), duration_within(0), duration_within(1), any::<bool>(), duration_within(0));
    prop::collection::vec(fault, 1..20).prop_map(|faults| {
        let mut faults: Vec<PlannedFault> = faults
            .into_iter()
            .map(|(grace_s, at, recover_within, follows, jitter)| PlannedFault {
                id: String::new(),
                spec: FaultSpec::PodKill { grace: grace_s.map_or(Grace::Pod, |s| Grace::Of(Duration::from_secs(s))) },
                at,
                after_recovery: follows.then_some(Duration::ZERO),
                jitter,
                recover_within,
            })
            .collect();
        faults.sort_by_key(|fault| fault.at);
        let mut before: Option<Duration> = None;
        for (index, fault) in faults.iter_mut().enumerate() {
            fault.id = format!("pod-kill-{}", index + 1);
            // What follows another tells its time as a pause.
            fault.after_recovery = before.filter(|_| fault.after_recovery.is_some()).map(|before| fault.at - before);
            before = Some(fault.at);
        }
        faults
    })
}

prop_compose! {
    fn plans()(
        name in "[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?",
        description in "[^\\p{Cc}]{0,80}|[ -~\n]{0,80}",
        cluster in prop::option::of("(sandbox|kind|k3d|context):[!-~]{1,20}"),
        seed in prop::option::of(any::<u64>()),
        target in targets(),
        workload in workloads(),
        faults in schedules(),
        lost_commits in any::<u64>(),
        p99_ms in prop::option::of(1u64..10_000),
        max_ms in 10_000u64..86_400_000,
        claims in prop::collection::btree_set(prop::sample::select(vec![Claim::Ha2, Claim::Ha3, Claim::Ha5, Claim::Ha6, Claim::Ha7]), 1..5),
        overlap_allowed in any::<bool>(),
        cold_read in any::<bool>(),
        abort_when_outage in prop::option::of(duration_within(1)),
        max_unavailable_nodes in 1u32..=1_000,
        control_plane_node in prop::option::of("[a-z0-9]{1,20}"),
        node_access in prop::option::of("[a-z0-9][!-~]{0,40}"),
        tail in duration_within(1),
    ) -> Plan {
        let last = faults.iter().map(|fault| fault.at).max().unwrap_or_default();
        Plan {
            sandbox_sabotage: None,
            name,
            description,
            cluster: cluster.and_then(|text| text.parse().ok()),
            seed,
            target,
            workload,
            faults,
            expect: Expect {
                lost_commits,
                reconnect: ReconnectTarget {
                    p99: p99_ms.map(Duration::from_millis),
                    max: Duration::from_millis(max_ms),
                },
                claims,
                overlap_allowed,
            },
            abort_when_outage,
            blast_radius: BlastRadius { max_unavailable_nodes, control_plane_node },
            node_access,
            duration: last + tail,
            cold_read,
        }
    }
}

proptest! {
    #[test]
    fn any_plan_survives_being_written_and_read(plan in plans()) {
        let text = to_yaml(&plan);
        match parse("written.yaml", &text) {
            Ok(read) => prop_assert_eq!(read, plan),
            Err(mistakes) => prop_assert!(false, "{mistakes}\n{text}"),
        }
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "\\PC{0,200}|[-a-z0-9:,&*!?{}\\[\\]'\"|>%@`# \t\r\n]{0,200}") {
        let _ = parse("x.yaml", &text).map_err(|mistakes| mistakes.to_string());
    }

    #[test]
    fn no_damage_to_an_experiment_makes_the_reader_panic(at in 0usize..900, piece in "[-:,&*!?{}\\[\\]'\"|># \t\na0]{0,3}", cut in 0usize..5) {
        let mut chars: Vec<char> = FULL.chars().collect();
        let at = at.min(chars.len());
        let end = (at + cut).min(chars.len());
        chars.splice(at..end, piece.chars());
        let text: String = chars.into_iter().collect();
        if let Err(mistakes) = parse("x.yaml", &text) {
            prop_assert!(!mistakes.list().is_empty());
            prop_assert!(mistakes.list().iter().all(|mistake| mistake.at.is_some()), "{mistakes}");
        }
    }
}
