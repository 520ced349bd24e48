//! What this user may do, tried: servers judge that before they look at what a statement says.

use scylla::client::session::Session;
use scylla::errors::{DbError, ExecutionError, RequestAttemptError};
use scylla::statement::Statement;

use super::config::ScyllaConfig;
use super::connect::consistency;
use super::doctor::patience;
use super::schema;

/// Why a statement that every node runs was not run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This user may not do it.
    Forbidden { verb: &'static str, table: &'static str },
    /// Something else, which would be no better with the next table.
    Failed { verb: &'static str, table: &'static str, why: String },
}

/// What a node does with the tables and can't. Nothing that anybody reads is changed: a row that nobody has is removed, as of a time before
/// all others.
pub(crate) async fn refused(session: &Session, config: &ScyllaConfig) -> Vec<Refused> {
    let mut refused = Vec::new();
    for (table, nobody) in schema::rows_of_nobody() {
        let name = format!("{}.{table}", config.keyspace);
        let tries = [
            ("read", format!("SELECT * FROM {name} WHERE {nobody} LIMIT 1")),
            ("write", format!("DELETE FROM {name} USING TIMESTAMP 1 WHERE {nobody}")),
        ];
        for (verb, text) in tries {
            let mut statement = Statement::new(text);
            statement.set_consistency(consistency(config.consistency));
            statement.set_request_timeout(Some(patience(config)));
            match session.query_unpaged(statement, ()).await {
                Ok(_) => {}
                Err(ExecutionError::LastAttemptError(RequestAttemptError::DbError(DbError::Unauthorized, _))) => {
                    refused.push(Refused::Forbidden { verb, table });
                }
                Err(error) => {
                    refused.push(Refused::Failed { verb, table, why: error.to_string() });
                    return refused;
                }
            }
        }
    }
    refused
}
