//! A run against a target that somebody else deployed: found in place of deployed, with a database of the run's own in it, which is dropped at the end.

use std::sync::Arc;
use std::time::Duration;

use super::RunError;
use super::phases::Run;
use crate::cluster::ClusterProvider;
use crate::experiment::{Controller, ExistingTarget, ServiceAccess};
use crate::fault::Site;
use crate::fault::journal::{DatabasePlace, Undo};
use crate::sql::{self, SqlError};
use crate::target::{self, Found, TargetError};
use crate::workload::{self, DatabaseOwner};

/// The journal's step for the database.
pub(super) const DATABASE_STEP: &str = "database";

/// How long a server may take to be asked, once the run is over or its harness was killed: it may be in the middle of a restart.
const DROP_WITHIN: Duration = Duration::from_secs(120);

fn engine(error: &SqlError) -> RunError {
    RunError::Engine(error.to_string())
}

/// The way to the server, with the password from its Secret.
async fn way(
    client: &kube::Client,
    provider: &dyn ClusterProvider,
    place: &DatabasePlace,
    found: &Found,
) -> Result<sql::Target, TargetError> {
    let way = target::sql_target(client, provider, &place.target, found, place.address.as_deref(), place.tls).await?;
    Ok(sql::Target { database: workload::DATABASE.to_owned(), ..way })
}

/// What dropping came to, in words.
fn told(owner: DatabaseOwner) -> String {
    match owner {
        DatabaseOwner::Run | DatabaseOwner::Unmarked => "database chaos is dropped".to_owned(),
        DatabaseOwner::Nobody => "database chaos was gone already".to_owned(),
        DatabaseOwner::Other => "the database chaos that is there is not of this run, so it stays".to_owned(),
    }
}

/// Drops what a killed harness left in a server of somebody else's.
pub(super) async fn drop_left(
    client: &kube::Client,
    provider: &dyn ClusterProvider,
    place: &DatabasePlace,
    run: &str,
) -> Result<String, RunError> {
    let found = target::find(client, &place.target).await?;
    let way = way(client, provider, place, &found).await?;
    workload::drop_database(&way, run, DROP_WITHIN).await.map(told).map_err(|error| engine(&error))
}

impl Run<'_> {
    fn place(&self, existing: &ExistingTarget) -> DatabasePlace {
        let address = match &self.plan.target.service {
            ServiceAccess::Address(address) => Some(address.clone()),
            ServiceAccess::NodePort | ServiceAccess::LoadBalancer => None,
        };
        DatabasePlace { target: existing.clone(), address, tls: self.plan.target.tls }
    }

    /// Finds the target, waits until it serves, and creates the run's database in it. Refuses one that has a database of that name, since what is in it would
    /// be taken for the run's.
    pub(super) async fn adopt(&mut self, client: kube::Client, existing: &ExistingTarget) -> Result<String, RunError> {
        let found = target::find(&client, existing).await?;
        let looked = target::look_into_pod(&client, &found).await?;
        let place = self.place(existing);
        let of = format!("the server behind service/{} of namespace {}", existing.service, existing.namespace);
        self.mount = looked.mount.ok_or_else(|| {
            TargetError::Unsuitable(format!(
                "{of} has no PersistentVolumeClaim in its container, so what it acknowledges cannot outlive its pod"
            ))
        })?;
        self.port = looked.port;
        let controller = target::controller_behind(&client, &existing.namespace, looked.owner.as_ref()).await?;
        self.controller = if controller.kind == "StatefulSet" { Controller::StatefulSet } else { Controller::Deployment };
        self.names = target::Names { controller: controller.name, ..looked.names };
        let sql = way(&client, self.provider.as_ref(), &place, &found).await?;
        self.settle(client, sql.clone(), looked.grace, target::LOG_MARKS).await?;
        match workload::database_owner(&sql, &self.id).await.map_err(|error| engine(&error))? {
            DatabaseOwner::Nobody => {}
            _ => {
                let database = workload::DATABASE;
                let what = format!(
                    "{of} has a database called {database} that is not of this run; drop it if nobody needs it, or name another server"
                );
                return Err(TargetError::Unsuitable(what).into());
            }
        }
        self.journal.intent(DATABASE_STEP, &format!("database {} on {of}", workload::DATABASE), Undo::DropDatabase { place })?;
        self.created = true;
        workload::create_database(&sql, &self.id).await.map_err(|error| engine(&error))?;
        Ok(sql.address)
    }

    /// Drops the run's database, and says so.
    pub(super) async fn drop_database(&self) -> Result<String, String> {
        let Some(site) = self.site.as_ref().filter(|_| self.created) else {
            return Ok("nothing was created".to_owned());
        };
        workload::drop_database(&site.sql, &self.id, DROP_WITHIN).await.map(told).map_err(|error| error.to_string())
    }

    /// What is left of the run's database, with where that is; a server that cannot be asked counts as one that has it.
    pub(super) async fn database_left(&self, existing: &ExistingTarget) -> Option<String> {
        let Site { sql, .. } = self.site.as_ref().filter(|_| self.created)?;
        let gone = matches!(workload::database_owner(sql, &self.id).await, Ok(DatabaseOwner::Nobody | DatabaseOwner::Other));
        (!gone).then(|| format!("database {} on service/{} of namespace {}", workload::DATABASE, existing.service, existing.namespace))
    }

    /// From here on the target is watched, its log is kept, and faults can be aimed at it. Returns once it serves.
    pub(super) async fn settle(
        &mut self,
        client: kube::Client,
        sql: sql::Target,
        pod_grace: Duration,
        log_marks: &'static [&'static str],
    ) -> Result<(), RunError> {
        let timeline = self.timeline.clone();
        let emit: target::Emit = Arc::new(move |kind| timeline.emit(kind));
        let watch = target::Watch::start(&client, &self.names, emit.clone());
        self.keep_log(&client, &watch, log_marks, emit);
        let site = self.site.insert(Site {
            client,
            names: self.names.clone(),
            watch,
            sql,
            provider: Arc::clone(&self.provider),
            mount: self.mount.clone(),
            port: self.port,
            pod_grace,
            run: self.id.clone(),
        });
        site.watch.until_serving(self.plan.target.ready_within).await?;
        Ok(())
    }
}
