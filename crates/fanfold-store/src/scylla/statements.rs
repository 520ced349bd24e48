//! Every statement of the store, prepared once. All of them may be repeated.

use scylla::client::session::Session;
use scylla::statement::Statement;
use scylla::statement::prepared::PreparedStatement;

use super::error::ScyllaError;

/// Rows of one page of what may be long.
const PAGE_ROWS: i32 = 500;

/// Chunks of a snapshot in one page: 4 MiB.
const PAGE_CHUNKS: i32 = 16;

/// Snapshots looked at in one page: the first one nearly always does.
const PAGE_SNAPSHOTS: i32 = 12;

macro_rules! statements {
    ($($name:ident: $text:expr;)+) => {
        /// See the module.
        pub(crate) struct Statements {
            $(pub(crate) $name: PreparedStatement,)+
        }

        impl Statements {
            pub(crate) async fn prepare(session: &Session, keyspace: &str) -> Result<Self, ScyllaError> {
                // Boxed: side by side they would fill a thread's stack.
                let ($($name,)+) = tokio::try_join!($(Box::pin(prepare(session, keyspace, $text)),)+)?;
                let mut statements = Self { $($name,)+ };
                statements.chunks.set_page_size(PAGE_CHUNKS);
                statements.snapshots.set_page_size(PAGE_SNAPSHOTS);
                Ok(statements)
            }
        }
    };
}

statements! {
    all_sessions: "SELECT DISTINCT tenant, session FROM sessions";
    sessions_from: "SELECT DISTINCT tenant, session FROM sessions WHERE token(tenant, session) >= token(?, ?)";
    put_row: "INSERT INTO sessions (tenant, session, at_offset, active_at_ms, content) VALUES (?, ?, ?, ?, ?)";
    row: "SELECT erased, content FROM sessions WHERE tenant = ? AND session = ? LIMIT 1";
    row_versions: "SELECT content FROM sessions WHERE tenant = ? AND session = ?";
    hide_row: "INSERT INTO sessions (tenant, session, erased) VALUES (?, ?, ?)";
    drop_row: "DELETE FROM sessions USING TIMESTAMP ? WHERE tenant = ? AND session = ? AND at_offset = ? AND active_at_ms = ?";
    drop_rows: "DELETE FROM sessions USING TIMESTAMP ? WHERE tenant = ? AND session = ? AND at_offset >= 0";
    put_day: "INSERT INTO session_days (tenant, list, day) VALUES (?, ?, ?)";
    days: "SELECT day FROM session_days WHERE tenant = ? AND list = ? AND day <= ?";
    put_active: "INSERT INTO sessions_by_day (tenant, list, day, minute, session) VALUES (?, ?, ?, ?, ?)";
    active: "SELECT minute, session FROM sessions_by_day WHERE tenant = ? AND list = ? AND day = ? AND minute <= ?";
    put_word: "INSERT INTO session_words (tenant, list, head, part, word, session) VALUES (?, ?, ?, ?, ?, ?)";
    drop_word: "DELETE FROM session_words USING TIMESTAMP ? \
        WHERE tenant = ? AND list = ? AND head = ? AND part = ? AND word = ? AND session = ?";
    words: "SELECT session FROM session_words \
        WHERE tenant = ? AND list = ? AND head = ? AND part = ? AND word >= ? AND word < ? LIMIT ?";
    put_open_run: "INSERT INTO open_runs (bucket, tenant, session) VALUES (?, ?, ?)";
    open_runs: "SELECT tenant, session FROM open_runs WHERE bucket = ? AND (tenant, session) > (?, ?)";

    begin_snapshot: "INSERT INTO snapshots (tenant, session, at_offset, epoch, fold, stage) VALUES (?, ?, ?, ?, ?, 1)";
    put_snapshot: "INSERT INTO snapshots (tenant, session, at_offset, epoch, fold, stage, content) VALUES (?, ?, ?, ?, ?, 2, ?)";
    snapshots: "SELECT erased, kept_from, at_offset, epoch, fold, stage, content FROM snapshots \
        WHERE tenant = ? AND session = ? AND at_offset <= ?";
    snapshots_state: "SELECT erased, kept_from FROM snapshots WHERE tenant = ? AND session = ? LIMIT 1";
    keep_from: "INSERT INTO snapshots (tenant, session, kept_from) VALUES (?, ?, ?)";
    hide_snapshots: "INSERT INTO snapshots (tenant, session, erased) VALUES (?, ?, true)";
    drop_snapshots: "DELETE FROM snapshots WHERE tenant = ? AND session = ? AND at_offset >= 0";
    put_note: "INSERT INTO notes (kind, note, content) VALUES (?, ?, ?)";
    note: "SELECT content FROM notes WHERE kind = ? AND note = ?";
    drop_note: "DELETE FROM notes WHERE kind = ? AND note = ?";
    notes: "SELECT note, content FROM notes WHERE kind = ? AND note > ?";

    put_chunk: "INSERT INTO snapshot_chunks (tenant, session, epoch, at_offset, fold, chunk, content) VALUES (?, ?, ?, ?, ?, ?, ?)";
    chunks: "SELECT chunk, content FROM snapshot_chunks WHERE tenant = ? AND session = ? AND epoch = ? AND at_offset = ? AND fold = ?";
    any_chunk: "SELECT chunk FROM snapshot_chunks \
        WHERE tenant = ? AND session = ? AND epoch = ? AND at_offset = ? AND fold = ? LIMIT 1";
    drop_chunks: "DELETE FROM snapshot_chunks WHERE tenant = ? AND session = ? AND epoch = ? AND at_offset = ? AND fold = ?";

    put_segment_key: "INSERT INTO segment_index (tenant, session, epoch, last_offset, first_offset, month, digest, records) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    segment_keys: "SELECT last_offset, first_offset, month, digest, records FROM segment_index \
        WHERE tenant = ? AND session = ? AND epoch = ? AND last_offset > ?";
    next_segment_epoch: "SELECT erased, epoch FROM segment_index WHERE tenant = ? AND session = ? AND epoch > ? LIMIT 1";
    last_segments: "SELECT last_offset, first_offset, month, digest FROM segment_index WHERE tenant = ? AND session = ? AND epoch = ? \
        ORDER BY epoch DESC, last_offset DESC LIMIT ?";
    segment_is_there: "SELECT digest FROM segments \
        WHERE tenant = ? AND session = ? AND epoch = ? AND month = ? AND first_offset = ? AND last_offset = ? AND digest = ?";
    all_segment_keys: "SELECT epoch, last_offset, first_offset, month, digest FROM segment_index WHERE tenant = ? AND session = ?";
    segments_state: "SELECT erased FROM segment_index WHERE tenant = ? AND session = ? LIMIT 1";
    hide_segments: "INSERT INTO segment_index (tenant, session, erased) VALUES (?, ?, true)";
    drop_segment_keys: "DELETE FROM segment_index WHERE tenant = ? AND session = ? AND epoch = ?";
    put_segment: "INSERT INTO segments (tenant, session, epoch, month, first_offset, last_offset, digest, content) \
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
    segment: "SELECT content FROM segments \
        WHERE tenant = ? AND session = ? AND epoch = ? AND month = ? AND first_offset = ? AND last_offset = ? AND digest = ?";
    any_segment: "SELECT digest FROM segments WHERE tenant = ? AND session = ? AND epoch = ? AND month = ? LIMIT 1";
    drop_segments: "DELETE FROM segments WHERE tenant = ? AND session = ? AND epoch = ? AND month = ?";

    put_attempt: "INSERT INTO attempts (tenant, session, generation, attempt) VALUES (?, ?, ?, ?)";
    attempts: "SELECT generation, attempt FROM attempts WHERE tenant = ? AND session = ? LIMIT 1024";
    park: "INSERT INTO parked (bucket, tenant, session, content) VALUES (?, ?, ?, ?)";
    unpark: "DELETE FROM parked WHERE bucket = ? AND tenant = ? AND session = ?";
    parked_one: "SELECT content FROM parked WHERE bucket = ? AND tenant = ? AND session = ?";
    parked: "SELECT tenant, session, content FROM parked WHERE bucket = ? AND (tenant, session) > (?, ?)";

    put_erasure: "INSERT INTO erasures (bucket, tenant, session, content) VALUES (?, ?, ?, ?)";
    drop_erasure: "DELETE FROM erasures WHERE bucket = ? AND tenant = ? AND session = ?";
    erasure: "SELECT content FROM erasures WHERE bucket = ? AND tenant = ? AND session = ?";
    erasures: "SELECT tenant, session, content FROM erasures WHERE bucket = ? AND (tenant, session) > (?, ?)";

    put_epoch: "INSERT INTO log_epochs (shard, first_offset, epoch, begun_at_ms) VALUES (?, ?, ?, ?)";
    epochs: "SELECT first_offset, epoch, begun_at_ms FROM log_epochs WHERE shard = ?";
}

/// Names the table in full: servers warn of statements that rely on a connection's keyspace.
async fn prepare(session: &Session, keyspace: &str, text: &str) -> Result<PreparedStatement, ScyllaError> {
    let mut statement = Statement::new(text.replacen("INTO ", &format!("INTO {keyspace}."), 1).replacen(
        "FROM ",
        &format!("FROM {keyspace}."),
        1,
    ));
    statement.set_is_idempotent(true);
    statement.set_page_size(PAGE_ROWS);
    session.prepare(statement).await.map_err(|error| ScyllaError::Refused(Box::new(error)))
}
