//! One fault, now, against a target that stands already: resolved, journalled, injected, attested, recovered from, healed. There is no load, so nothing is said
//! of the data.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::{RunError, folder, node_access, preflight};
use crate::cluster;
use crate::experiment::{BlastRadius, ClusterRef, ExistingTarget, FaultSpec, Tls};
use crate::fault::journal::{Entry, Journal};
use crate::fault::{self, Fault, FaultError, Site};
use crate::model::{FaultTarget, Secret};
use crate::sql;
use crate::target::{self, Watch};

/// What is injected, and into what.
pub struct InjectOptions {
    /// The folder that gets a folder for the journal.
    pub reports: PathBuf,
    /// Where.
    pub cluster: ClusterRef,
    /// The target.
    pub target: ExistingTarget,
    /// What is injected.
    pub spec: FaultSpec,
    /// How far it may reach.
    pub blast_radius: BlastRadius,
    /// Whether its connections are encrypted.
    pub tls: Tls,
    /// The image of the pods through which the nodes of a context are reached.
    pub node_access: Option<String>,
    /// How long recovery is awaited.
    pub recover_within: Duration,
    /// Whether it is healed in the end.
    pub heal: bool,
}

/// What became of it. Times count from the call.
#[derive(Debug, Clone)]
pub struct Injected {
    /// The folder with the journal.
    pub folder: PathBuf,
    /// What was hit.
    pub target: FaultTarget,
    /// When the mutation was accepted.
    pub injected_after: Duration,
    /// Whether it was seen to take effect.
    pub attested: bool,
    /// What was seen.
    pub evidence: Vec<String>,
    /// When the target served again; `Err` tells what was last seen. `None`: nobody waited for it, because the fault was left in place.
    pub recovered: Option<Result<Duration, String>>,
    /// What healing did. `None`: the fault was left in place, and its journal is open.
    pub healed: Option<String>,
    /// Whether a signal cut it short.
    pub interrupted: bool,
}

/// Injects one fault.
pub async fn inject(options: InjectOptions, cancel: CancellationToken) -> Result<Injected, RunError> {
    let began = Instant::now();
    let fault = fault::fault(&options.spec);
    let access = node_access::planned(&options.cluster, options.node_access.as_deref(), [&options.spec]);
    let provider = cluster::provider(&options.cluster, access)?;
    preflight::capable(fault::refusals([(options.spec.kind(), &options.spec)], provider.capabilities()))?;
    let id = folder::run_id(&format!("inject-{}", options.spec.kind()), Timestamp::now());
    let record = cluster::record(provider.as_ref());
    // The disk and the cluster are waited for at the same time.
    let (reports, run) = (options.reports.clone(), id.clone());
    let journal = tokio::task::spawn_blocking(move || {
        let folder = folder::create(&reports, &run)?;
        let journal = Journal::create(&folder, &Entry::Begin { run, cluster: record })?;
        Ok::<_, std::io::Error>((folder, journal))
    });
    let aiming = async {
        let site = site(&options, fault.as_ref(), provider, id).await?;
        aim(&options, fault.as_ref(), site).await
    };
    let aimed = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RunError::Interrupted),
        aimed = aiming => aimed,
    };
    let (folder, journal) = journal.await.map_err(|error| RunError::Bug(error.to_string()))??;
    let (site, target) = match aimed {
        Ok(aimed) => aimed,
        Err(error) => {
            // Nothing was changed.
            journal.append(&Entry::Closed)?;
            return Err(error);
        }
    };
    if let Some(access) = site.provider.node_access() {
        node_access::open(&site.client, &journal, access, &site.run).await?;
    }
    let step = format!("{}-1", options.spec.kind());
    journal.intent(&step, &format!("{}/{} uid {}", target.kind, target.name, target.uid), fault.undo(&site, &target))?;
    let mut injected = Injected {
        folder,
        target: target.clone(),
        injected_after: Duration::ZERO,
        attested: false,
        evidence: Vec::new(),
        recovered: None,
        healed: None,
        interrupted: false,
    };
    let watched = tokio::select! {
        biased;
        () = cancel.cancelled() => Err(RunError::Interrupted),
        watched = watch(&options, fault.as_ref(), &site, &target, began, &mut injected) => watched,
    };
    injected.interrupted = matches!(watched, Err(RunError::Interrupted));
    // Without `heal` a fault stays that took effect; one that failed half-way is undone whatever was asked for.
    if options.heal || watched.is_err() {
        let detail = fault.heal(&site, &target).await?;
        journal.undone(&step, &detail)?;
        if let Some(access) = site.provider.node_access() {
            node_access::close(&site.client, &journal, access, &site.run).await?;
        }
        journal.append(&Entry::Closed)?;
        injected.healed = Some(detail);
    }
    match watched {
        Ok(()) | Err(RunError::Interrupted) => Ok(injected),
        Err(error) => Err(error),
    }
}

/// Connects, finds the target and waits until it serves: a fault on what is down already would show nothing.
async fn site(
    options: &InjectOptions,
    fault: &dyn Fault,
    provider: Arc<dyn cluster::ClusterProvider>,
    run: String,
) -> Result<Site, RunError> {
    let client = cluster::client(provider.connect().await?)?;
    let found = target::find(&client, &options.target).await?;
    let watch = Watch::silent(&client, &found.names);
    // Only a fault whose witness is a login needs the way in and the password.
    let sql = if fault.asks_engine() {
        target::sql_target(&client, provider.as_ref(), &options.target, &found, None, options.tls).await?
    } else {
        nowhere()
    };
    // A round trip is what this takes long for, so none waits for another that it does not need.
    let looked = async { Ok::<_, RunError>(target::look_into_pod(&client, &found).await?) };
    let serving = async { Ok(watch.until_serving(options.recover_within).await?) };
    let (looked, _) = tokio::try_join!(looked, serving)?;
    let mount = looked.mount.unwrap_or_else(|| target::DATA_MOUNT.to_owned());
    Ok(Site { client, names: looked.names, watch, sql, provider, mount, port: looked.port, pod_grace: looked.grace, run })
}

/// The target of a fault that never asks the engine.
fn nowhere() -> sql::Target {
    sql::Target {
        address: String::new(),
        user: String::new(),
        password: Secret::new(String::new()),
        database: String::new(),
        tls: Tls::Off,
    }
}

async fn aim(options: &InjectOptions, fault: &dyn Fault, site: Site) -> Result<(Site, FaultTarget), RunError> {
    let target = fault::aim(&options.spec, fault, &site, &options.blast_radius).await.map_err(refused)?;
    Ok((site, target))
}

fn refused(error: FaultError) -> RunError {
    RunError::Refused(error.to_string())
}

/// From the mutation to the recovery.
async fn watch(
    options: &InjectOptions,
    fault: &dyn Fault,
    site: &Site,
    target: &FaultTarget,
    began: Instant,
    injected: &mut Injected,
) -> Result<(), RunError> {
    injected.evidence = fault.inject(site, target).await.map_err(refused)?;
    let at = Instant::now();
    injected.injected_after = at - began;
    let attestation = fault.attest(site, target, options.recover_within).await;
    injected.attested = attestation.attested;
    injected.evidence.extend(attestation.evidence);
    if injected.attested {
        injected.evidence.extend(fault.intervene(site, target).await.map_err(refused)?);
    }
    if let Some(lasts) = fault.lasts() {
        if !options.heal {
            return Ok(());
        }
        tokio::time::sleep_until((at + lasts).into()).await;
        // Called again in the end, it finds nothing left to do.
        fault.heal(site, target).await.map_err(refused)?;
    }
    let serving = site.watch.until("a ready pod behind the Service", options.recover_within, |state| fault.is_recovered(state, target));
    injected.recovered = Some(serving.await.map(|_| at.elapsed()).map_err(|error| error.to_string()));
    Ok(())
}
