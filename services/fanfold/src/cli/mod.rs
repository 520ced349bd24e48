//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the session, 4 the node can't be reached.

mod append;
mod ask;
mod epoch;
mod node;
mod tail;
mod worker;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use fanfold_client::{Client, ClientConfig};

use crate::config::RunConfig;

/// The session or the node said no.
const REFUSED: u8 = 3;

/// The node can't be reached.
const UNREACHABLE: u8 = 4;

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
    Sessions {
        /// Only those of this user.
        #[arg(long)]
        user: Option<String>,
    },
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
    /// Make streams, keyspace and tables of a node's configuration, or bring them up to date. Safe to run again.
    Migrate {
        /// The configuration file; without one, the defaults and the environment.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
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
}

impl Model {
    /// What is given goes before what is configured.
    fn apply(self, config: &mut RunConfig) {
        if !self.model_recording.is_empty() {
            config.model_recordings = self.model_recording;
        }
        config.model_pace_ms = self.model_pace.or(config.model_pace_ms);
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
    /// A configuration file, of which `[runs]` says what answers.
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
}

/// Runs one command.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(run_async(arguments));
    // Reads of standard input may still block a thread.
    runtime.shutdown_background();
    done
}

async fn run_async(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { command, url, grpc_url, token, json } = arguments;
    let output = if json { Output::Json } else { Output::Text };
    let grpc_url = match &command {
        Command::Worker(Worker { node: Some(node), .. }) => node.clone(),
        _ => grpc_url,
    };
    let client = || Client::new(ClientConfig { http: url, grpc: grpc_url, token, ..ClientConfig::default() });
    match command {
        Command::Dev(dev) => node::dev(dev).await,
        Command::Serve(serve) => node::serve(serve).await,
        Command::Sessions { user } => ask::sessions(&client()?, output, user).await,
        Command::Open(open) => ask::open(&client()?, output, open).await,
        Command::Send(send) => ask::send(&client()?, output, send).await,
        Command::Tail(tail) => tail::tail(&client()?, output, tail).await,
        Command::State(state) => ask::state(&client()?, output, state).await,
        Command::Events(events) => ask::events(&client()?, output, events).await,
        Command::Cancel(cancel) => ask::cancel(&client()?, output, cancel).await,
        Command::Migrate { config } => node::migrate(output, config).await,
        Command::Epoch(epoch) => epoch::epoch(output, epoch),
        Command::Parked => ask::parked(&client()?, output).await,
        Command::Unpark { session } => ask::unpark(&client()?, &session).await,
        Command::DeadLetters { what } => ask::dead_letters(&client()?, output, what).await,
        Command::Worker(worker) => worker::worker(client()?, worker).await,
        Command::Append(append) => append::append(&client()?, output, append).await,
    }
}
