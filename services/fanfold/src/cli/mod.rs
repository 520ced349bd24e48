//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the session or the node, 4 the node can't be reached or has
//! no room and nothing was done, 5 no answer came and it may have been done.

mod append;
mod ask;
mod doctor;
mod epoch;
mod erase;
mod moving;
mod node;
mod offline;
mod tail;
mod time;
mod worker;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand, ValueEnum};
use fanfold_client::{Client, ClientConfig};
use fanfold_models::{DialectName, EndpointConfig};

use crate::config::{Config, LogBackend, StoreBackend};

use time::Time;

/// The session or the node said no.
const REFUSED: u8 = 3;

/// The node can't be reached, or says to come later.
const UNREACHABLE: u8 = 4;

/// Nobody knows whether it was done.
const UNKNOWN: u8 = 5;

/// Durable sessions between AI workers and the people who watch them.
#[derive(Debug, Parser)]
#[command(name = "fanfold", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The node's HTTP address.
    #[arg(long, global = true, env = "FANFOLD_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// The node's gRPC address.
    #[arg(long, global = true, env = "FANFOLD_GRPC_URL", default_value = "http://127.0.0.1:8081")]
    grpc_url: String,
    /// A token, where the node asks for one.
    #[arg(long, global = true, env = "FANFOLD_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file with the token. White space at its end doesn't count.
    #[arg(long, global = true, env = "FANFOLD_TOKEN_FILE", value_name = "FILE", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// Print JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
}

/// How to print.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Prints one value. Fails when nobody reads any more.
    fn line(self, value: &impl serde::Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let line = match self {
            Self::Text => text(),
            Self::Json => serde_json::to_string(value)?,
        };
        Ok(writeln!(std::io::stdout().lock(), "{line}")?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node on this machine, open to everybody on it, with a worker inside.
    Dev(Dev),
    /// Run a node from a configuration file and the environment.
    Serve(Serve),
    /// List sessions, the last active first.
    Sessions(SessionsOf),
    /// Open a session.
    Open(Open),
    /// Send a message and have it answered.
    Send(SendText),
    /// Follow a session, and come back when the connection is lost.
    Tail(Tail),
    /// Show a session's state, now or in the past.
    State(StateOf),
    /// List stored records.
    Events(EventsOf),
    /// Stop a run, or every open one.
    Cancel(Cancel),
    /// Erase a session for good, for everybody.
    Erase(EraseSession),
    /// Make streams, keyspace and tables of a node's configuration, or bring them up to date. Safe to run again.
    Migrate {
        /// The configuration file; without one, the defaults and the environment.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Say what of the servers behind a node's configuration is missing or dangerous; fails if something is.
    Doctor(doctor::Doctor),
    /// Write sessions into a file on standard output.
    Export(moving::Export),
    /// Take in what `export` wrote. Safe to run again; a session that is there with another history is refused and stays as it is.
    Import(moving::Import),
    /// Copy everything into a new folder, also while nodes run.
    Backup(moving::Backup),
    /// Put a backup back where nothing is, in a new epoch.
    Restore(moving::Backup),
    /// What to do when the log has lost records.
    #[command(subcommand)]
    Epoch(epoch::Epoch),
    /// List sessions that failed to load too often.
    Parked,
    /// Let a parked session be tried again.
    Unpark { session: String },
    /// List runs that failed for good, look at one, or have it tried again.
    DeadLetters {
        #[command(subcommand)]
        what: Option<DeadLetters>,
    },
    /// Answer a node's runs, as the worker inside a node does, from a process of its own.
    Worker(Worker),
    /// Write an answer from JSON lines on standard input.
    Append(AppendTo),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Show one, with its run.
    Show { session: String, run: String },
    /// Have it tried again, as a new run for the same message.
    Redrive { session: String, run: String },
}

/// Options of `sessions`.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionsOf {
    /// Only those opened by this user.
    #[arg(long)]
    user: Option<String>,
    /// Only those last active at or after this: `90m`, `12h` or `7d` ago, or a time such as 2026-03-01 or 2026-03-01T12:00:00Z.
    #[arg(long, value_name = "WHEN")]
    since: Option<Time>,
    /// Only those last active before this.
    #[arg(long, value_name = "WHEN")]
    until: Option<Time>,
    /// Only those where each of these words begins a word of the title or of the id.
    #[arg(long, value_name = "WORDS")]
    query: Option<String>,
}

/// Options of `open`.
#[derive(Debug, clap::Args)]
pub(crate) struct Open {
    /// Its id; minted if none is given.
    session: Option<String>,
    /// Its title.
    #[arg(long)]
    title: Option<String>,
}

/// Options of `send`.
#[derive(Debug, clap::Args)]
pub(crate) struct SendText {
    session: String,
    text: String,
    /// Only add the message.
    #[arg(long)]
    no_answer: bool,
    /// Cancel what goes on instead of waiting for it.
    #[arg(long)]
    interrupt: bool,
}

/// Options of `tail`.
#[derive(Debug, clap::Args)]
pub(crate) struct Tail {
    session: String,
    /// `start`, or the offset whose state to begin with; without it, now.
    #[arg(long)]
    from: Option<String>,
    /// Over what.
    #[arg(long, value_enum, default_value_t = Via::Ws)]
    transport: Via,
    /// End when every run has ended.
    #[arg(long)]
    until_idle: bool,
    /// Give up after so many connections in a row that came to nothing.
    #[arg(long)]
    tries: Option<u32>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Via {
    Ws,
    Sse,
    Grpc,
}

/// Options of `state`.
#[derive(Debug, clap::Args)]
pub(crate) struct StateOf {
    session: String,
    /// The offset to look at.
    #[arg(long)]
    at: Option<u64>,
    /// Messages at most, the newest.
    #[arg(long, default_value_t = 1_000_000)]
    window: u32,
    #[command(flatten)]
    place: Where,
}

/// Options of `events`.
#[derive(Debug, clap::Args)]
pub(crate) struct EventsOf {
    session: String,
    /// After this offset.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Up to and including this offset.
    #[arg(long)]
    to: Option<u64>,
    #[command(flatten)]
    place: Where,
}

/// Log and store, where no node is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Where {
    /// The folder of a node's embedded log and store.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// A node's configuration file. Nodes may run where it names servers.
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    config: Option<PathBuf>,
}

impl Where {
    fn is_given(&self) -> bool {
        self.data.is_some() || self.config.is_some()
    }

    /// Without either, the defaults and the environment.
    fn load(&self) -> anyhow::Result<Config> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(data) = &self.data {
            config.node.data.clone_from(data);
            config.log.backend = LogBackend::Embedded;
            config.store.backend = StoreBackend::Embedded;
        }
        config.check()?;
        // What is told is what the command is for.
        node::start_log_from(config.node.log_format, "warn");
        Ok(config)
    }
}

/// Options of `cancel`.
#[derive(Debug, clap::Args)]
pub(crate) struct Cancel {
    session: String,
    /// Which run; every open one if none is named.
    #[arg(long)]
    run: Option<String>,
    /// Why, for readers.
    #[arg(long, default_value = "")]
    reason: String,
}

/// Options of `erase`.
#[derive(Debug, clap::Args)]
pub(crate) struct EraseSession {
    session: String,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// Wait until writes that were on their way have been waited for, too; on one machine, until its files are compacted.
    #[arg(long)]
    wait: bool,
}

/// Options of `append`.
#[derive(Debug, clap::Args)]
pub(crate) struct AppendTo {
    session: String,
    /// Which run; the one that comes next if none is named.
    #[arg(long)]
    run: Option<String>,
}

/// What answers, in a node or a worker.
#[derive(Debug, clap::Args)]
pub(crate) struct Model {
    /// A recorded model answer, one JSON chunk a line; may be given several times, runs take them in turn.
    #[arg(long, value_name = "FILE")]
    model_recording: Vec<PathBuf>,
    /// Milliseconds between two chunks of the model; 0: as fast as it can. Default: a human pace.
    #[arg(long, value_name = "MS")]
    model_pace: Option<u64>,
    /// The address of a model, such as `https://models.example/v1`.
    #[arg(long, value_name = "URL", requires = "model", conflicts_with = "model_recording")]
    model_url: Option<String>,
    /// What it is called there.
    #[arg(long, value_name = "NAME", requires = "model_url")]
    model: Option<String>,
    /// How it is spoken to.
    #[arg(long, value_enum, default_value_t = Dialect::Chat, requires = "model_url")]
    model_dialect: Dialect,
    /// The variable of the environment that holds its key.
    #[arg(long, value_name = "NAME", requires = "model_url", conflicts_with = "model_key_file")]
    model_key_env: Option<String>,
    /// The file that holds its key.
    #[arg(long, value_name = "FILE", requires = "model_url")]
    model_key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Dialect {
    /// OpenAI's chat completions, and what many others serve like them.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
}

impl From<Dialect> for DialectName {
    fn from(dialect: Dialect) -> Self {
        match dialect {
            Dialect::Chat => Self::ChatCompletions,
            Dialect::Responses => Self::Responses,
            Dialect::Messages => Self::Messages,
        }
    }
}

impl Model {
    /// What is given goes before what is configured.
    fn apply(self, config: &mut Config) {
        if !self.model_recording.is_empty() {
            config.runs.model_recordings = self.model_recording;
            config.models.endpoints.clear();
        }
        if let (Some(url), Some(model)) = (self.model_url, self.model) {
            let dialect = self.model_dialect.into();
            let (key_env, key_file) = (self.model_key_env, self.model_key_file);
            config.runs.model_recordings.clear();
            config.models.endpoints =
                vec![EndpointConfig { model, url, dialect, key_env, key_file, ..EndpointConfig::default() }];
        }
        config.runs.model_pace_ms = self.model_pace.or(config.runs.model_pace_ms);
    }
}

/// Options of `worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct Worker {
    /// The node's gRPC address; by default the one of `--grpc-url`.
    #[arg(long, value_name = "URL")]
    node: Option<String>,
    /// How runs name this worker.
    #[arg(long, default_value = "worker")]
    name: String,
    /// Runs that it answers at a time.
    #[arg(long, default_value_t = 8)]
    slots: usize,
    /// A configuration file, of which `[runs]` and `[models]` say what answers.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    model: Model,
}

/// Options of `dev`.
#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// Where to listen for HTTP, WebSocket and SSE; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// Where to listen for gRPC; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    grpc: SocketAddr,
    /// The folder of log and store.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    #[command(flatten)]
    model: Model,
    /// Runs that the worker inside answers at a time; 0: none, another worker does.
    #[arg(long, default_value_t = 8)]
    worker_slots: usize,
}

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// The configuration file; without one, the defaults and the environment.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the sample configuration and exit.
    #[arg(long)]
    sample: bool,
    /// Read the configuration and the files of keys and models that it names, say what is wrong, and exit. Asks no server.
    #[arg(long)]
    check: bool,
    #[command(flatten)]
    model: Model,
}

/// Runs one command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(run_async(arguments));
    // Reads of standard input may still block a thread.
    runtime.shutdown_background();
    done
}

fn secret(file: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(file).with_context(|| format!("{} can't be read", file.display()))?;
    Ok(text.trim_end().to_owned())
}

async fn run_async(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { command, url, grpc_url, token, token_file, json } = arguments;
    let token = token_file.as_deref().map_or(Ok(token), |file| secret(file).map(Some))?;
    let output = if json { Output::Json } else { Output::Text };
    let grpc_url = match &command {
        Command::Worker(Worker { node: Some(node), .. }) => node.clone(),
        _ => grpc_url,
    };
    let config = ClientConfig { http: url, grpc: grpc_url, token, ..ClientConfig::default() };
    let client = || Client::new(config.clone());
    match command {
        Command::Dev(dev) => node::dev(dev).await,
        Command::Serve(serve) => node::serve(serve).await,
        Command::Sessions(asked) => ask::sessions(&client()?, output, asked).await,
        Command::Open(open) => ask::open(&client()?, output, open).await,
        Command::Send(send) => ask::send(&client()?, output, send).await,
        Command::Tail(tail) => tail::tail(&client()?, output, tail).await,
        Command::State(state) if state.place.is_given() => offline::state(output, state).await,
        Command::State(state) => ask::state(&client()?, output, state).await,
        Command::Events(events) if events.place.is_given() => offline::events(output, events).await,
        Command::Events(events) => ask::events(&client()?, output, events).await,
        Command::Cancel(cancel) => ask::cancel(&client()?, output, cancel).await,
        Command::Erase(erase) => erase::erase(&client()?, output, erase).await,
        Command::Doctor(doctor) => doctor::doctor(output, doctor).await,
        Command::Migrate { config } => node::migrate(output, config).await,
        Command::Export(export) => moving::export(output, export).await,
        Command::Import(import) => moving::import(output, import).await,
        Command::Backup(backup) => moving::backup(output, backup).await,
        Command::Restore(restore) => moving::restore(output, restore).await,
        Command::Epoch(epoch) => epoch::epoch(output, epoch).await,
        Command::Parked => ask::parked(&client()?, output).await,
        Command::Unpark { session } => ask::unpark(&client()?, &session).await,
        Command::DeadLetters { what } => ask::dead_letters(&client()?, output, what).await,
        Command::Worker(worker) => worker::worker(config, token_file, worker).await,
        Command::Append(append) => append::append(&client()?, output, append).await,
    }
}
