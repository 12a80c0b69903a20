//! From the tree to the plan: defaults filled in, repeats expanded, and the checks that look at more than one key.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{Claim, format_duration};

use super::Overrides;
use super::faults::{FAULTS, FaultForm};
use super::form::{EXPERIMENT, INJECTIONS_MAX, SCHEDULE};
use super::mistake::{At, Mistake};
use super::names::Named;
use super::own_sql;
use super::plan::{
    BlastRadius, Cache, ClusterRef, Engine, ExistingPlan, ExistingTarget, Expect, FaultSpec, Plan, PlannedFault, ReconnectTarget,
    SandboxSabotage, Storage, TargetPlan, Touch, WorkloadKind, WorkloadPlan,
};
use super::reader::{Field, Fields, Log, nearest};
use super::yaml::{Entry, Node, Value, join};

/// How long after the start of the fault phase the first fault is due: the baseline window before it.
const FIRST_AT: Duration = Duration::from_secs(10);

/// How long after one injection the next is due, unless the file says.
const EVERY: Duration = Duration::from_secs(30);

/// How long the load runs on after the last injection at the least: the baseline window after it.
const TAIL: Duration = Duration::from_secs(10);

/// The last injection is due before this, so that a run ends within the day that every duration is bound to.
const LAST_AT_MAX: Duration = Duration::from_secs(23 * 3_600);

/// Reads the plan; what is wrong goes into the log, and the plan is worth nothing unless the log stays empty.
pub(super) fn plan(root: &Node, overrides: &Overrides) -> Result<Plan, Vec<Mistake>> {
    let log = Log::default();
    let top = Fields::open(&log, &EXPERIMENT, root, "", &[]);
    let target = target(&log, &top.section("target"), overrides);
    let workload = workload(&log, top.section("workload"));
    let (mut entries, faults_sound) = faults(&log, &top);
    let duration = duration(&log, &top, &entries);
    let cold_read = top.switch("coldRead");
    if let Some(existing) = &target.existing {
        untouchable(&log, existing, &entries, &cold_read);
    }
    let decidable: BTreeSet<Claim> = entries.iter().flat_map(|entry| entry.spec.decides()).collect();
    let expect = expect(&log, top.section("expect"), faults_sound.then_some(&decidable));
    let cluster = overrides.cluster.clone().or(top.maybe_cluster("cluster"));
    let sandbox_sabotage = sandbox_sabotage(&log, &top, cluster.as_ref());
    let plan = Plan {
        name: top.text("name").value,
        description: top.maybe_text("description").map_or_else(String::new, |text| text.value),
        cluster,
        sandbox_sabotage,
        seed: overrides.seed.or(top.maybe_integer("seed").map(|seed| seed.value)),
        target,
        workload,
        faults: schedule(&mut entries),
        expect,
        abort_when_outage: top.maybe_outage("abortWhen").map(|limit| limit.value),
        blast_radius: blast_radius(top.section("blastRadius")),
        node_access: node_access(&top),
        duration,
        cold_read: cold_read.value,
    };
    top.close();
    let mistakes = log.into_list();
    if mistakes.is_empty() { Ok(plan) } else { Err(mistakes) }
}

/// The defect of the cluster. Only a sandbox that is started for the run can be told to have one.
fn sandbox_sabotage(log: &Log, top: &Fields<'_>, cluster: Option<&ClusterRef>) -> Option<SandboxSabotage> {
    let defect = top.maybe_choice("sandboxSabotage")?;
    if let Some(cluster) = cluster.filter(|cluster| **cluster != ClusterRef::Sandbox(None)) {
        let what = format!("{cluster} cannot be told to have a defect, expected the cluster sandbox or no sandboxSabotage");
        log.note(defect.at, &defect.path, what);
    }
    Some(defect.value)
}

fn target(log: &Log, fields: &Fields<'_>, overrides: &Overrides) -> TargetPlan {
    // The command line may decide what the file leaves open, so a missing engine is a mistake only without it.
    let engine = match overrides.engine {
        Some(engine) => {
            if fields.entry("engine").is_some() {
                fields.choice::<Engine>("engine");
            }
            Some(engine)
        }
        None => {
            let field = fields.choice::<Engine>("engine");
            field.sound.then_some(field.value)
        }
    };
    let storage = fields.section("storage");
    let plan = TargetPlan {
        engine: engine.unwrap_or(Engine::TdsSqlite),
        existing: existing(log, fields, engine),
        image: fields.maybe_text("image").map(|image| image.value),
        controller: fields.choice("controller").value,
        storage: Storage {
            size: storage.text("size").value,
            access_mode: storage.choice("accessMode").value,
            class: storage.maybe_text("class").map(|class| class.value),
        },
        grace: fields.duration("grace").value,
        ready_within: fields.duration("readyWithin").value,
        service: fields.service("service").value,
        tls: fields.choice("tls").value,
        ignore_sigterm: {
            let ignores = fields.switch("ignoreSigterm");
            if let Some(engine) = engine.filter(|engine| ignores.value && *engine != Engine::TdsSqlite) {
                let what = format!("{engine} cannot be told to ignore it, expected the engine {} or false", Engine::TdsSqlite);
                log.note(ignores.at, &ignores.path, what);
            }
            ignores.value
        },
        cache: {
            let cache = fields.choice("cache");
            if let Some(engine) = engine.filter(|engine| cache.value != Cache::Kernel && *engine != Engine::TdsSqlite) {
                let what = format!("{engine} cannot be told to have one, expected the engine {} or {}", Engine::TdsSqlite, Cache::Kernel);
                log.note(cache.at, &cache.path, what);
            }
            cache.value
        },
        sabotage: fields.maybe_choice("sabotage").map(|sabotage| {
            if let Some(engine) = engine
                && engine != Engine::TdsSqlite
            {
                log.note(
                    sabotage.at,
                    &sabotage.path,
                    format!("{engine} cannot be told to have a defect, expected the engine {} or no sabotage", Engine::TdsSqlite),
                );
            }
            sabotage.value
        }),
    };
    storage.close();
    plan
}

/// What is said of a target that somebody else deployed. What a deployment of ours would need has no meaning beside it.
fn existing(log: &Log, fields: &Fields<'_>, engine: Option<Engine>) -> Option<ExistingPlan> {
    let section = fields.section("existing");
    let namespace = section.maybe_text("namespace");
    let target = ExistingTarget {
        namespace: namespace.as_ref().map(|namespace| namespace.value.clone()).unwrap_or_default(),
        service: section.text("service").value,
        secret: section.text("secret").value,
        secret_key: section.text("secretKey").value,
        user: section.text("user").value,
    };
    let may_touch = section.choices::<Touch>("mayTouch").map_or_else(|| BTreeSet::from([Touch::Pod]), |may| may.value);
    let given = fields.entry("existing");
    if given.is_some() && engine == Some(Engine::Existing) && namespace.is_none() {
        section.missing("namespace", "the namespace of the target");
    }
    section.close();
    if engine != Some(Engine::Existing) {
        if let (Some(engine), Some(entry)) = (engine, given) {
            log.note(
                entry.key_at,
                &join(fields.path(), "existing"),
                format!("{engine} is deployed by the run, expected the engine {}", Engine::Existing),
            );
        }
        return None;
    }
    if given.is_none() {
        fields.missing("existing", "where the target stands, such as { namespace: sql, service: mssql, secret: mssql-sa }");
    }
    for key in ["image", "controller", "storage", "grace"] {
        if let Some(entry) = fields.entry(key) {
            let what = "has no effect on a target that somebody else deployed, expected it left out";
            log.note(entry.key_at, &join(fields.path(), key), what);
        }
    }
    Some(ExistingPlan { target, may_touch })
}

/// Notes each fault that touches of an existing target what it may not.
fn untouchable(log: &Log, existing: &ExistingPlan, entries: &[FaultEntry], cold_read: &Field<bool>) {
    for entry in entries {
        let touch = entry.spec.touch();
        if !existing.may_touch.contains(&touch) {
            let what = format!("touches the target's {touch}, which target.existing.mayTouch does not list");
            log.note(entry.place.0, &entry.place.1, what);
        }
    }
    if cold_read.value && !existing.may_touch.contains(&Touch::Pod) {
        let what = format!("kills the pod once more, and target.existing.mayTouch does not list {}, expected false", Touch::Pod);
        log.note(cold_read.at, &cold_read.path, what);
    }
}

fn workload(log: &Log, fields: Fields<'_>) -> WorkloadPlan {
    let mix_fields = fields.section("mix");
    let mut mix = BTreeMap::new();
    for kind in WorkloadKind::ALL {
        if let Some(share) = mix_fields.maybe_integer(kind.id()) {
            mix.insert(*kind, u32::try_from(share.value).unwrap_or(u32::MAX));
        }
    }
    let given = fields.entry("mix");
    if given.is_some_and(|entry| entry.value.value == Value::Mapping(Vec::new())) {
        log.note(mix_fields.at(), mix_fields.path(), "is empty, expected at least one workload, such as ledger: 1");
    }
    if mix.is_empty() {
        mix.insert(WorkloadKind::Ledger, 1);
    }
    let sql = own_sql::read(log, &fields, mix.contains_key(&WorkloadKind::Sql));
    let plan = WorkloadPlan {
        mix,
        clients: u32::try_from(fields.integer("clients").value).unwrap_or(u32::MAX),
        rate: fields.pace("rate"),
        warm_up: fields.duration("warmUp").value,
        op_timeout: fields.duration("opTimeout").value,
        isolation: fields.choice("isolation").value,
        sql,
    };
    mix_fields.close();
    fields.close();
    plan
}

/// One item of `faults`, before it is expanded.
struct FaultEntry {
    spec: FaultSpec,
    /// Where the fault stands, and its path.
    place: (At, String),
    at: Field<Duration>,
    /// False when `at` was left out or is mistaken.
    at_given: bool,
    repeat: u64,
    every: Duration,
    /// When the last injection above is due, where this one's times count from its recovery.
    follows: Option<Duration>,
    jitter: Duration,
    recover_within: Duration,
}

impl FaultEntry {
    /// When its first injection is due at the earliest.
    fn first(&self) -> Duration {
        self.follows.unwrap_or_default().saturating_add(self.at.value)
    }

    /// When its last injection is due at the earliest, but for the jitter.
    fn last(&self) -> Duration {
        let gaps = u32::try_from(self.repeat.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first().saturating_add(self.every.saturating_mul(gaps))
    }

    /// Its injections in order. Those of an entry that follows another wait for the recovery of the one before.
    fn injections(&self) -> impl Iterator<Item = PlannedFault> {
        // The bound was noted as a mistake; expanding more would only cost memory.
        (0..self.repeat.min(INJECTIONS_MAX)).map(|repeat| {
            let gaps = u32::try_from(repeat).unwrap_or(u32::MAX);
            let pause = if repeat == 0 { self.at.value } else { self.every };
            PlannedFault {
                id: String::new(),
                spec: self.spec.clone(),
                at: self.first().saturating_add(self.every.saturating_mul(gaps)),
                after_recovery: self.follows.map(|_| pause),
                jitter: self.jitter,
                recover_within: self.recover_within,
            }
        })
    }
}

/// The faults, and whether all were understood.
fn faults(log: &Log, top: &Fields<'_>) -> (Vec<FaultEntry>, bool) {
    const EXPECTED: &str = "a list of faults, such as `- pod-kill: { grace: 0s }`";
    let Some(entry) = top.entry("faults") else {
        top.missing("faults", EXPECTED);
        return (Vec::new(), false);
    };
    let Value::Sequence(items) = &entry.value.value else {
        log.note(entry.value.at, "faults", format!("is {}, expected {EXPECTED}", entry.value.kind()));
        return (Vec::new(), false);
    };
    if items.is_empty() {
        log.note(entry.value.at, "faults", format!("is empty, expected {EXPECTED}"));
        return (Vec::new(), false);
    }
    let mut entries: Vec<FaultEntry> = Vec::new();
    let mut sound = true;
    let mut injections = 0;
    for (index, item) in items.iter().enumerate() {
        let above = Above { latest: entries.iter().map(FaultEntry::last).max(), last: entries.last().map(FaultEntry::last) };
        match fault(log, item, &format!("faults[{index}]"), &above) {
            Some(entry) => {
                let before = injections;
                injections += entry.repeat;
                if before <= INJECTIONS_MAX && injections > INJECTIONS_MAX {
                    log.note(
                        item.at,
                        &format!("faults[{index}]"),
                        format!("makes {injections} injections, expected at most {INJECTIONS_MAX} in a run"),
                    );
                }
                if entry.at.sound && entry.last() > LAST_AT_MAX {
                    log.note(
                        entry.at.at,
                        &entry.at.path,
                        format!(
                            "the last injection is due at {}, expected at most {}",
                            format_duration(entry.last()),
                            format_duration(LAST_AT_MAX)
                        ),
                    );
                }
                entries.push(entry);
            }
            None => sound = false,
        }
    }
    (entries, sound)
}

/// When the injections of the faults above are due.
struct Above {
    /// The latest of them all.
    latest: Option<Duration>,
    /// The last of the item right above.
    last: Option<Duration>,
}

fn fault(log: &Log, item: &Node, path: &str, above: &Above) -> Option<FaultEntry> {
    let kinds: Vec<&str> = FAULTS.iter().map(|form| form.kind).collect();
    let Value::Mapping(keys) = &item.value else {
        log.note(
            item.at,
            path,
            format!("is {}, expected a fault as a key, such as `pod-kill:` or `pod-kill: {{ grace: 0s }}`", item.kind()),
        );
        return None;
    };
    let scheduled = |entry: &&Entry| SCHEDULE.keys.iter().any(|key| key.name == entry.key);
    let mut found: Option<(&Entry, &'static FaultForm)> = None;
    let mut unknown = false;
    // Keys that are neither a fault nor part of the schedule are named here, since only here both are known.
    for entry in keys.iter().filter(|entry| !scheduled(entry)) {
        let form = FAULTS.iter().find(|form| form.kind == entry.key);
        match (form, found) {
            (Some(form), None) => found = Some((entry, form)),
            (Some(_), Some((first, _))) => log.note(
                entry.key_at,
                &join(path, &entry.key),
                format!("a second fault in one item, the first is `{}`, expected an item of its own", first.key),
            ),
            (None, _) => {
                unknown = true;
                log.note(entry.key_at, &join(path, &entry.key), unknown_fault_key(&entry.key, &kinds));
            }
        }
    }
    let ours: Vec<&str> = keys.iter().filter(|entry| !scheduled(entry)).map(|entry| entry.key.as_str()).collect();
    let fields = Fields::open(log, &SCHEDULE, item, path, &ours);
    let given = fields.maybe_duration("at");
    let repeat = fields.integer("repeat");
    let every = fields.maybe_duration("every");
    let recover_within = fields.duration("recoverWithin").value;
    let after_recovery = fields.choice_word("after").value == "recovered";
    let jitter = fields.duration("jitter").value;
    fields.close();
    if let Some(every) = &every
        && repeat.sound
        && repeat.value == 1
    {
        log.note(every.at, &every.path, "has no effect on a single injection, expected `repeat` beside it");
    }
    let Some((entry, form)) = found else {
        if !unknown {
            log.note(item.at, path, format!("names no fault, expected one of {}", kinds.join(", ")));
        }
        return None;
    };
    let parameters_path = join(path, form.kind);
    let empty = Node { at: entry.key_at, value: Value::Mapping(Vec::new()) };
    let node = match entry.value.value {
        Value::Null => &empty,
        _ => &entry.value,
    };
    let parameters = Fields::open(log, form.parameters, node, &parameters_path, &[]);
    let spec = (form.read)(&parameters);
    parameters.close();
    let at_given = given.as_ref().is_some_and(|at| at.sound);
    // The first injection of all has none before it, so its times count from the start either way.
    let follows = above.last.filter(|_| after_recovery);
    let default_at = match (follows, above.latest) {
        (Some(_), _) => EVERY,
        (None, Some(latest)) => latest.saturating_add(EVERY),
        (None, None) => FIRST_AT,
    };
    let at = match given {
        Some(at) => at,
        None => Field { value: default_at, at: entry.key_at, path: path.to_owned(), sound: true },
    };
    let every = every.map_or(EVERY, |every| every.value);
    Some(FaultEntry {
        spec,
        place: (entry.key_at, parameters_path),
        at,
        at_given,
        repeat: repeat.value,
        every,
        follows,
        jitter,
        recover_within,
    })
}

/// A fault by its word and its parameters, as a command line names them.
///
/// # Errors
/// Everything that is wrong, a sentence each.
pub fn fault_spec(kind: &str, parameters: &[(String, String)]) -> Result<FaultSpec, Vec<String>> {
    let kinds: Vec<&str> = FAULTS.iter().map(|form| form.kind).collect();
    let Some(form) = FAULTS.iter().find(|form| form.kind == kind) else {
        let hint = nearest(kind, &kinds).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        return Err(vec![format!("unknown fault {}, {hint}expected {}", super::mistake::quoted(kind), kinds.join(", "))]);
    };
    let at = At { line: 1, column: 1 };
    let entry = |(key, value): &(String, String)| Entry {
        key: key.clone(),
        key_at: at,
        value: Node { at, value: Value::Scalar { text: value.clone(), plain: true } },
    };
    let node = Node { at, value: Value::Mapping(parameters.iter().map(entry).collect()) };
    let log = Log::default();
    let fields = Fields::open(&log, form.parameters, &node, kind, &[]);
    let spec = (form.read)(&fields);
    fields.close();
    let mistakes: Vec<String> = log.into_list().into_iter().map(|mistake| format!("{}: {}", mistake.path, mistake.what)).collect();
    if mistakes.is_empty() { Ok(spec) } else { Err(mistakes) }
}

fn unknown_fault_key(key: &str, kinds: &[&str]) -> String {
    let schedule: Vec<&str> = SCHEDULE.keys.iter().map(|key| key.name).collect();
    let mut all = kinds.to_vec();
    all.extend(&schedule);
    let hint = nearest(key, &all).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
    let key = super::mistake::quoted(key);
    format!("unknown fault or key {key}, {hint}expected a fault ({}) and {}", kinds.join(", "), schedule.join(", "))
}

fn duration(log: &Log, top: &Fields<'_>, entries: &[FaultEntry]) -> Duration {
    let last = entries.iter().map(|entry| entry.last().saturating_add(entry.jitter)).max().unwrap_or_default();
    let Some(duration) = top.maybe_duration("duration") else {
        return last.saturating_add(TAIL);
    };
    for entry in entries {
        if duration.sound && entry.at.sound && entry.last() >= duration.value {
            let which = if entry.repeat > 1 {
                format!("its last injection, number {}, is due", entry.repeat)
            } else if entry.at_given {
                "is due".to_owned()
            } else {
                "is due by default".to_owned()
            };
            log.note(
                entry.at.at,
                &entry.at.path,
                format!(
                    "{which} at {}, which is not before the end of the fault phase, expected less than `duration`, {}",
                    format_duration(entry.last()),
                    format_duration(duration.value)
                ),
            );
        }
    }
    duration.value
}

fn expect(log: &Log, fields: Fields<'_>, decidable: Option<&BTreeSet<Claim>>) -> Expect {
    let reconnect = fields.section("reconnect");
    let p99 = reconnect.maybe_duration("p99");
    let max = reconnect.duration("max");
    if let Some(p99) = &p99
        && p99.sound
        && max.sound
        && p99.value > max.value
    {
        log.note(p99.at, &p99.path, format!("is {}, expected at most `max`, {}", format_duration(p99.value), format_duration(max.value)));
    }
    let claims = fields.choices::<Claim>("claims");
    if let (Some(claims), Some(decidable)) = (&claims, decidable)
        && claims.sound
    {
        for claim in claims.value.difference(decidable) {
            let list: Vec<&str> = decidable.iter().map(|claim| claim.id()).collect();
            log.note(
                claims.at,
                &claims.path,
                format!("no fault of this experiment can decide {claim} ({}), expected some of {}", claim.statement(), list.join(", ")),
            );
        }
    }
    let plan = Expect {
        lost_commits: fields.integer("lostCommits").value,
        reconnect: ReconnectTarget { p99: p99.map(|p99| p99.value), max: max.value },
        claims: claims.map_or_else(|| decidable.cloned().unwrap_or_default(), |claims| claims.value),
        overlap_allowed: fields.choice_word("overlap").value == "allowed",
    };
    reconnect.close();
    fields.close();
    plan
}

fn blast_radius(fields: Fields<'_>) -> BlastRadius {
    let radius = BlastRadius {
        max_unavailable_nodes: u32::try_from(fields.integer("maxUnavailableNodes").value).unwrap_or(u32::MAX),
        control_plane_node: fields.maybe_text("controlPlaneNode").map(|node| node.value),
    };
    fields.close();
    radius
}

fn node_access(top: &Fields<'_>) -> Option<String> {
    let fields = top.section("nodeAccess");
    let image = fields.maybe_text("image").map(|image| image.value);
    if image.is_none() && top.entry("nodeAccess").is_some() {
        fields.missing("image", "an image with a `chroot`, such as busybox:1");
    }
    fields.close();
    image
}

/// Expands repeats and numbers the injections of each kind in their order: by time, and what follows an injection right behind it.
fn schedule(entries: &mut [FaultEntry]) -> Vec<PlannedFault> {
    let mut chains: Vec<Vec<PlannedFault>> = Vec::new();
    for fault in entries.iter().flat_map(FaultEntry::injections) {
        match chains.last_mut() {
            Some(chain) if fault.after_recovery.is_some() => chain.push(fault),
            _ => chains.push(vec![fault]),
        }
    }
    chains.sort_by_key(|chain| chain.first().map(|head| head.at));
    let mut faults: Vec<PlannedFault> = chains.into_iter().flatten().collect();
    let mut numbers: BTreeMap<&str, u32> = BTreeMap::new();
    for fault in &mut faults {
        let number = numbers.entry(fault.spec.kind()).or_default();
        *number += 1;
        fault.id = format!("{}-{number}", fault.spec.kind());
    }
    faults
}
