//! The tables, and how a keyspace comes to have them.
//!
//! Steps are only ever added, and a step that was released never changes. Builds of two versions run side by side during a rolling
//! restart, so a step leaves what older builds read and write as it is.

use std::error::Error;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::response::query_result::QueryResult;
use scylla::statement::Statement;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::config::ScyllaConfig;
use super::connect::connect;
use super::error::ScyllaError;

/// What a migration found and left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migrated {
    /// The version before; 0 where there was nothing.
    pub from: i32,
    /// The version now.
    pub to: i32,
}

struct Step {
    version: i32,
    tables: &'static [Table],
}

struct Table {
    name: &'static str,
    /// Columns and key.
    columns: &'static str,
    /// What follows `WITH`.
    options: &'static str,
}

/// Rows that expire together are thrown away together. Nothing else is deleted there, so tombstones need not outlive hints by days.
const EXPIRING: &str = "default_time_to_live = 604800 AND gc_grace_seconds = 10800 AND compaction = \
    {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': '12'}";

const STEPS: [Step; 2] = [
    Step {
        version: 1,
        tables: &[
            // One row for each time a session's row was put: the newest is first, and an older one never covers it.
            Table {
                name: "sessions",
                columns: "tenant text, session text, at_offset varint, active_at_ms varint, erased blob static, content blob, \
                PRIMARY KEY ((tenant, session), at_offset, active_at_ms)",
                options: "CLUSTERING ORDER BY (at_offset DESC, active_at_ms DESC)",
            },
            // On which days a list has anything. `list` is nil for a tenant's, else a digest of the user.
            Table {
                name: "session_days",
                columns: "tenant text, list uuid, day bigint, PRIMARY KEY ((tenant, list), day)",
                options: "CLUSTERING ORDER BY (day DESC)",
            },
            // Which sessions were active in which minute of a day. That never changes, so nothing is ever moved.
            Table {
                name: "sessions_by_day",
                columns: "tenant text, list uuid, day bigint, minute int, session text, \
                PRIMARY KEY ((tenant, list, day), minute, session)",
                options: "CLUSTERING ORDER BY (minute DESC, session DESC)",
            },
            Table {
                name: "open_runs",
                columns: "bucket int, tenant text, session text, PRIMARY KEY ((bucket), tenant, session)",
                options: EXPIRING,
            },
            // Stage 1: its chunks may be there. Stage 2: they are, and `content` says which. Offsets grow across epochs, so the newest is
            // first. Those below `kept_from` have been let go.
            Table {
                name: "snapshots",
                columns: "tenant text, session text, at_offset varint, epoch uuid, fold int, stage tinyint, content blob, \
                kept_from varint static, erased boolean static, \
                PRIMARY KEY ((tenant, session), at_offset, epoch, fold, stage)",
                options: "CLUSTERING ORDER BY (at_offset DESC, epoch ASC, fold DESC, stage DESC)",
            },
            Table {
                name: "snapshot_chunks",
                columns: "tenant text, session text, epoch uuid, at_offset varint, fold int, chunk int, content blob, \
                PRIMARY KEY ((tenant, session, epoch, at_offset, fold), chunk)",
                options: "",
            },
            // Which segments there are, by their last offsets: what follows an offset is one range.
            Table {
                name: "segment_index",
                columns: "tenant text, session text, epoch uuid, last_offset varint, first_offset varint, month bigint, digest uuid, \
                records int, erased boolean static, PRIMARY KEY ((tenant, session), epoch, last_offset, first_offset, month, digest)",
                options: "",
            },
            Table {
                name: "segments",
                columns: "tenant text, session text, epoch uuid, month bigint, first_offset varint, last_offset varint, digest uuid, \
                content blob, PRIMARY KEY ((tenant, session, epoch, month), first_offset, last_offset, digest)",
                options: "",
            },
            // Tries to hydrate. Those of the newest generation count; the nil try only begins one.
            Table {
                name: "attempts",
                columns: "tenant text, session text, generation int, attempt uuid, \
                PRIMARY KEY ((tenant, session), generation, attempt)",
                options: "CLUSTERING ORDER BY (generation DESC, attempt ASC) AND default_time_to_live = 86400 \
                AND gc_grace_seconds = 10800 AND compaction = {'class': 'TimeWindowCompactionStrategy', \
                'compaction_window_unit': 'HOURS', 'compaction_window_size': '2'}",
            },
            Table {
                name: "parked",
                columns: "bucket int, tenant text, session text, content blob, PRIMARY KEY ((bucket), tenant, session)",
                options: "",
            },
            // Sessions whose erasure has begun and not come to its end.
            Table {
                name: "erasures",
                columns: "bucket int, tenant text, session text, content blob, PRIMARY KEY ((bucket), tenant, session)",
                options: "",
            },
            // What is still to be done, or was used up. Nobody asks for one after a month.
            Table {
                name: "notes",
                columns: "kind tinyint, note text, content blob, PRIMARY KEY ((kind), note)",
                options: "default_time_to_live = 2592000 AND gc_grace_seconds = 10800",
            },
            Table {
                name: "log_epochs",
                columns: "shard int, first_offset varint, epoch uuid, begun_at_ms bigint, PRIMARY KEY ((shard), first_offset, epoch)",
                options: "CLUSTERING ORDER BY (first_offset DESC, epoch ASC)",
            },
        ],
    },
    Step {
        version: 2,
        tables: &[
            // Which sessions have, or once had, which words in their titles and ids. By the first letter, and a tenant's in parts, so that
            // no partition grows with a tenant alone.
            Table {
                name: "session_words",
                columns: "tenant text, list uuid, head text, part int, word text, session text, \
                    PRIMARY KEY ((tenant, list, head, part), word, session)",
                options: "",
            },
        ],
    },
];

/// The version this build reads and writes.
pub(crate) const VERSION: i32 = STEPS[STEPS.len() - 1].version;

/// How long one statement of a migration may take, with repetitions.
const STATEMENT: Duration = Duration::from_secs(60);

const AGAIN: Duration = Duration::from_millis(300);

/// Makes keyspace and tables, or adds what they lack. May be run again, and by several nodes at once.
pub(crate) async fn migrate(config: &ScyllaConfig) -> Result<Migrated, ScyllaError> {
    let session = connect(config).await?;
    let keyspace = &config.keyspace;
    let replicas = config.replicas;
    // Who may only make tables in it may not even ask for one that is there already.
    if !has_keyspace(&session, keyspace).await? {
        let create = format!(
            "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
            {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}}"
        );
        run(&session, 0, &create, STATEMENT).await?;
    }
    let steps = Table { name: "schema_steps", columns: "part text, version int, PRIMARY KEY ((part), version)", options: "" };
    run(&session, 0, &steps.create(keyspace, &session), STATEMENT).await?;
    let from = version(&session, keyspace, STATEMENT).await?.unwrap_or(0);
    for step in STEPS.iter().filter(|step| step.version > from) {
        for table in step.tables {
            // Another node may be at the same, and a change of the schema takes its time.
            if !has_table(&session, keyspace, table.name, STATEMENT).await? {
                run(&session, step.version, &table.create(keyspace, &session), STATEMENT).await?;
            }
        }
        let done = format!("INSERT INTO {keyspace}.schema_steps (part, version) VALUES ('store', {})", step.version);
        run(&session, step.version, &done, STATEMENT).await?;
        tracing::info!(keyspace, version = step.version, "schema step done");
    }
    Ok(Migrated { from, to: VERSION.max(from) })
}

/// All tables that this build reads and writes: their names, and a condition for a row that nobody has.
pub(crate) fn rows_of_nobody() -> impl Iterator<Item = (&'static str, String)> {
    STEPS.iter().flat_map(|step| step.tables).map(|table| (table.name, table.nobody()))
}

impl Table {
    /// Of a partition whose key is none that is ever made.
    fn nobody(&self) -> String {
        let (columns, key) = self.columns.split_once("PRIMARY KEY ((").unwrap_or_default();
        let (key, _) = key.split_once(')').unwrap_or_default();
        let kind = |name: &str| columns.split(", ").find_map(|column| column.trim().strip_prefix(name)?.strip_prefix(' '));
        let value = |name: &str| match kind(name) {
            Some("text") => "'nobody.'",
            Some("uuid") => "00000000-0000-0000-0000-000000000000",
            Some(_) | None => "-1",
        };
        key.split(", ").map(|name| format!("{name} = {}", value(name))).collect::<Vec<_>>().join(" AND ")
    }

    /// Cassandra takes a table that two nodes make at once for two tables, unless both give it the same id. ScyllaDB decides on
    /// schema changes one after another.
    fn create(&self, keyspace: &str, session: &Session) -> String {
        let Self { name, columns, options } = self;
        let is_scylla = session.get_cluster_state().get_nodes_info().iter().any(|node| node.sharder().is_some());
        let id = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("fanfold {keyspace}.{name}").as_bytes());
        let id = (!is_scylla).then(|| format!("ID = {id}"));
        let options = [Some((*options).to_owned()).filter(|options| !options.is_empty()), id];
        let options = options.into_iter().flatten().collect::<Vec<_>>().join(" AND ");
        let with = if options.is_empty() { "" } else { " WITH " };
        format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}){with}{options}")
    }
}

/// The version of a keyspace; `None` if it was never migrated.
pub(crate) async fn version(session: &Session, keyspace: &str, patience: Duration) -> Result<Option<i32>, ScyllaError> {
    if !has_table(session, keyspace, "schema_steps", patience).await? {
        return Ok(None);
    }
    let steps = format!("SELECT version FROM {keyspace}.schema_steps WHERE part = 'store'");
    let rows = run(session, 0, &steps, patience).await?.into_rows_result().map_err(refused)?;
    let versions = rows.rows::<(i32,)>().map_err(refused)?;
    Ok(versions.filter_map(Result::ok).map(|(version,)| version).max())
}

async fn has_keyspace(session: &Session, keyspace: &str) -> Result<bool, ScyllaError> {
    let known = format!("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = '{keyspace}'");
    Ok(run(session, 0, &known, STATEMENT).await?.into_rows_result().map_err(refused)?.rows_num() > 0)
}

async fn has_table(session: &Session, keyspace: &str, table: &str, patience: Duration) -> Result<bool, ScyllaError> {
    let known =
        format!("SELECT table_name FROM system_schema.tables WHERE keyspace_name = '{keyspace}' AND table_name = '{table}'");
    Ok(run(session, 0, &known, patience).await?.into_rows_result().map_err(refused)?.rows_num() > 0)
}

fn refused(error: impl Error + Send + Sync + 'static) -> ScyllaError {
    ScyllaError::Refused(Box::new(error))
}

/// Runs a statement that may be repeated. Right after a change another node may not know of it yet, or be at the same.
async fn run(session: &Session, version: i32, text: &str, patience: Duration) -> Result<QueryResult, ScyllaError> {
    let deadline = Instant::now() + patience;
    let mut statement = Statement::new(text);
    statement.set_is_idempotent(true);
    statement.set_request_timeout(Some(patience));
    loop {
        let source = match session.query_unpaged(statement.clone(), ()).await {
            Ok(result) => return Ok(result),
            Err(error) => Box::new(error),
        };
        if Instant::now() >= deadline {
            return Err(ScyllaError::Step { version, statement: text.to_owned(), source });
        }
        tracing::info!(error = &*source as &dyn Error, "schema statement again");
        sleep(AGAIN).await;
        // If it isn't reached, the next try says why.
        let _ = tokio::time::timeout_at(deadline, session.await_schema_agreement()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_has_a_row_of_nobody() {
        let all: Vec<_> = rows_of_nobody().collect();
        let of = |name: &str| all.iter().find(|(table, _)| *table == name).map(|(_, row)| row.as_str());
        assert_eq!(of("sessions"), Some("tenant = 'nobody.' AND session = 'nobody.'"));
        assert_eq!(of("session_days"), Some("tenant = 'nobody.' AND list = 00000000-0000-0000-0000-000000000000"));
        assert_eq!(of("notes"), Some("kind = -1"));
        assert!(all.len() > 12 && all.iter().all(|(_, row)| row.contains(" = ")), "{all:?}");
    }
}
