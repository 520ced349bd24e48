//! What an operator should know of the servers and the keyspace: as data, to be shown by whoever asks.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::cluster::Node;
use scylla::cluster::metadata::Strategy;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::response::query_result::QueryRowsResult;
use scylla::statement::{Consistency, Statement};
use scylla::value::CqlTimeuuid;

use super::config::{ScyllaConfig, ScyllaConsistency};
use super::connect::{connect, consistency};
use super::error::ScyllaError;
use super::permissions::{self, Refused};
use super::schema;

/// Clocks further apart than this decide wrongly which of two removals and writes came last.
const CLOCKS_APART_MS: i64 = 500;

/// Below this the store was never tested.
const CASSANDRA_MIN: (u32, u32) = (4, 1);

/// What a look at the servers found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScyllaReport {
    /// Every server that the cluster knows of.
    pub servers: Vec<ScyllaServer>,
    /// How the keyspace is replicated, in the servers' words; `None` where it isn't there.
    pub replication: Option<String>,
    /// The keyspace's schema version; `None` where it was never migrated.
    pub schema_found: Option<i32>,
    /// The schema version that this build needs.
    pub schema_needed: i32,
    /// Whether all servers that answer have one schema.
    pub schema_agreed: bool,
    /// Whether a read with the configured consistency succeeded.
    pub consistency_reached: bool,
    /// What is missing or dangerous.
    pub findings: Vec<ScyllaFinding>,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScyllaServer {
    /// Where it is.
    pub address: String,
    /// Its data centre.
    pub datacenter: Option<String>,
    /// Its rack.
    pub rack: Option<String>,
    /// What it says it is; `None` where it didn't answer.
    pub version: Option<String>,
    /// Milliseconds that its clock is ahead of this node's, give or take `clock_unsure_ms`.
    pub clock_ahead_ms: Option<i64>,
    /// Half of the milliseconds that asking took.
    pub clock_unsure_ms: i64,
}

/// Something that an operator should mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScyllaFinding {
    /// Whether data may be lost or unreadable for it. Else it is only worth knowing.
    pub is_danger: bool,
    /// A sentence for people.
    pub what: String,
}

/// Looks at every server and at the keyspace. Changes nothing that anybody reads.
pub(crate) async fn look(config: &ScyllaConfig, now_ms: impl Fn() -> u64) -> Result<ScyllaReport, ScyllaError> {
    // Whichever data centre they are in.
    let session = connect(&ScyllaConfig { datacenter: String::new(), ..config.clone() }).await?;
    let patience = patience(config);
    let state = session.get_cluster_state();
    let mut servers = Vec::new();
    for node in state.get_nodes_info() {
        servers.push(server(&session, node, patience, &now_ms).await);
    }
    let keyspace = state.get_keyspace(&config.keyspace);
    let replication = keyspace.map(|keyspace| format!("{:?}", keyspace.strategy));
    let schema = match keyspace {
        Some(_) => schema::version(&session, &config.keyspace, patience).await,
        None => Ok(None),
    };
    let unreadable = schema.as_ref().err().map(|error| danger(format!("the keyspace can't be read: {error}")));
    let schema_found = schema.unwrap_or_default();
    let mut report = ScyllaReport {
        servers,
        replication,
        schema_found,
        schema_needed: schema::VERSION,
        schema_agreed: session.check_schema_agreement().await.is_ok_and(|version| version.is_some()),
        consistency_reached: schema_found.is_some() && reads(&session, config).await,
        findings: Vec::new(),
    };
    let mut findings = servers_findings(config, &report.servers);
    if report.consistency_reached && schema_found.is_some_and(|found| found >= schema::VERSION) {
        findings.extend(permissions::refused(&session, config).await.into_iter().map(permission_finding));
    }
    match unreadable {
        Some(unreadable) => findings.push(unreadable),
        None => findings.extend(schema_findings(config, &report)),
    }
    findings.extend(keyspace.iter().flat_map(|keyspace| {
        let lost =
            (!keyspace.durable_writes).then(|| danger("durable_writes is off: servers that stop lose what they acknowledged"));
        lost.into_iter().chain(replication_findings(config, &keyspace.strategy))
    }));
    report.findings = findings;
    Ok(report)
}

async fn server(session: &Session, node: &Arc<Node>, patience: Duration, now_ms: &impl Fn() -> u64) -> ScyllaServer {
    let before = now_ms();
    let clock: Option<(CqlTimeuuid, String)> =
        ask(session, node, patience, "SELECT now(), release_version FROM system.local").await;
    let (before, after) = (i64::try_from(before).unwrap_or(i64::MAX), i64::try_from(now_ms()).unwrap_or(i64::MAX));
    let clock_unsure_ms = (after - before) / 2;
    let scylla: Option<(String,)> = match node.sharder() {
        Some(_) => ask(session, node, patience, "SELECT version FROM system.versions WHERE key = 'local'").await,
        None => None,
    };
    let version = clock.as_ref().map(|(_, release)| match scylla {
        Some((version,)) => format!("ScyllaDB {version}"),
        None if node.sharder().is_some() => "ScyllaDB".to_owned(),
        None => format!("Cassandra {release}"),
    });
    ScyllaServer {
        address: node.address.to_string(),
        datacenter: node.datacenter.clone(),
        rack: node.rack.clone(),
        version,
        clock_ahead_ms: clock.map(|(now, _)| unix_ms(now) - before - clock_unsure_ms),
        clock_unsure_ms,
    }
}

/// How long a server may take to answer: as long as a call of the store.
pub(crate) fn patience(config: &ScyllaConfig) -> Duration {
    Duration::from_millis(config.call_ms_max)
}

/// A row of this very server's.
async fn ask<R>(session: &Session, node: &Arc<Node>, patience: Duration, text: &str) -> Option<R>
where
    R: for<'r> scylla::deserialize::row::DeserializeRow<'r, 'r>,
{
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    statement.set_request_timeout(Some(patience));
    statement.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(Arc::clone(node)), None)));
    let rows = session.query_unpaged(statement, ()).await.ok()?;
    let rows: QueryRowsResult = rows.into_rows_result().ok()?;
    rows.first_row::<R>().ok()
}

/// Of a time-based UUID: it counts 100 ns since 1582.
fn unix_ms(time: CqlTimeuuid) -> i64 {
    const FROM_1582_TO_1970_MS: i64 = 12_219_292_800_000;
    let ticks = uuid::Uuid::from(time).get_timestamp().map_or(0, |timestamp| timestamp.to_gregorian().0);
    i64::try_from(ticks / 10_000).unwrap_or(i64::MAX) - FROM_1582_TO_1970_MS
}

async fn reads(session: &Session, config: &ScyllaConfig) -> bool {
    let mut statement = Statement::new(format!("SELECT version FROM {}.schema_steps WHERE part = 'store'", config.keyspace));
    statement.set_consistency(consistency(config.consistency));
    statement.set_request_timeout(Some(patience(config)));
    session.query_unpaged(statement, ()).await.is_ok()
}

fn danger(what: impl Into<String>) -> ScyllaFinding {
    ScyllaFinding { is_danger: true, what: what.into() }
}

fn notice(what: impl Into<String>) -> ScyllaFinding {
    ScyllaFinding { is_danger: false, what: what.into() }
}

fn servers_findings(config: &ScyllaConfig, servers: &[ScyllaServer]) -> Vec<ScyllaFinding> {
    let mut findings = Vec::new();
    for server in servers {
        match &server.version {
            None => findings.push(danger(format!("{} doesn't answer", server.address))),
            Some(version) if is_too_old(version) => {
                findings.push(danger(format!("{} is {version}; nothing below Cassandra 4.1 was tested", server.address)));
            }
            Some(_) => {}
        }
        if let Some(ahead) = server.clock_ahead_ms.filter(|ahead| ahead.abs() > CLOCKS_APART_MS + server.clock_unsure_ms) {
            findings.push(danger(format!("the clock of {} is {ahead} ms ahead of this node's", server.address)));
        }
    }
    let versions = servers.iter().filter_map(|server| server.version.as_deref()).collect::<BTreeSet<_>>();
    if versions.len() > 1 {
        findings.push(notice(format!("servers of several versions: {}", versions.into_iter().collect::<Vec<_>>().join(", "))));
    }
    let datacenters = servers.iter().filter_map(|server| server.datacenter.as_deref()).collect::<BTreeSet<_>>();
    if !config.datacenter.is_empty() && !datacenters.contains(config.datacenter.as_str()) {
        findings.push(danger(format!("no server is in the data centre {}", config.datacenter)));
    }
    if config.datacenter.is_empty() && datacenters.len() > 1 {
        findings.push(danger("there are several data centres, and the configuration names none: reads may miss local writes"));
    }
    findings
}

fn is_too_old(version: &str) -> bool {
    let Some(release) = version.strip_prefix("Cassandra ") else { return false };
    let mut numbers = release.split('.').map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < CASSANDRA_MIN
}

fn schema_findings(config: &ScyllaConfig, report: &ScyllaReport) -> Vec<ScyllaFinding> {
    let mut findings = Vec::new();
    match report.schema_found {
        None => findings.push(danger(format!("the keyspace {} has not been migrated", config.keyspace))),
        Some(found) if found < report.schema_needed => {
            findings.push(danger(format!("the keyspace has schema version {found}, this build needs {}", report.schema_needed)));
        }
        Some(found) if found > report.schema_needed => {
            findings.push(notice(format!("the keyspace has schema version {found}, this build knows {}", report.schema_needed)));
        }
        Some(_) => {}
    }
    if !report.schema_agreed {
        findings.push(danger("the servers don't agree on the schema"));
    }
    if report.schema_found.is_some() && !report.consistency_reached {
        findings.push(danger("a read with the configured consistency failed: too few copies answer"));
    }
    findings
}

fn permission_finding(refused: Refused) -> ScyllaFinding {
    danger(match refused {
        Refused::Forbidden { verb, table } => {
            format!("this user may not {verb} the table {table}: grant it SELECT and MODIFY on the keyspace")
        }
        Refused::Failed { verb, table, why } => format!("a try to {verb} the table {table} failed: {why}"),
    })
}

fn replication_findings(config: &ScyllaConfig, strategy: &Strategy) -> Vec<ScyllaFinding> {
    let copies = match strategy {
        Strategy::NetworkTopologyStrategy { datacenter_repfactors } => {
            datacenter_repfactors.iter().map(|(datacenter, copies)| (datacenter.as_str(), *copies)).collect::<Vec<_>>()
        }
        Strategy::SimpleStrategy { replication_factor } => {
            return vec![notice(format!(
                "SimpleStrategy with {replication_factor} copies knows no racks: use NetworkTopologyStrategy"
            ))];
        }
        Strategy::LocalStrategy | Strategy::Other { .. } => return vec![danger("the keyspace is not replicated")],
        _ => return vec![notice("the keyspace is replicated in a way that this build doesn't know")],
    };
    let mut findings = Vec::new();
    for (datacenter, copies) in &copies {
        match copies {
            0 | 1 => findings.push(danger(format!("one copy in {datacenter}: a lost disk loses history"))),
            2 => findings.push(danger(format!("two copies in {datacenter}: one server away stops reads and writes"))),
            _ => {}
        }
    }
    let weak = config.consistency == ScyllaConsistency::LocalOne && copies.iter().any(|(_, copies)| *copies > 1);
    if weak {
        findings.push(danger("consistency local_one with several copies: reads miss acknowledged writes"));
    }
    findings
}
