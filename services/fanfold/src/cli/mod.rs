//! The command line. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 refused by the session, 4 the node can't be reached.

mod node;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Durable sessions between AI workers and the people who watch them.
#[derive(Debug, Parser)]
#[command(name = "fanfold", version, about)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node on this machine, open to everybody on it, with a worker inside.
    Dev(Dev),
    /// Run a node from a configuration file and the environment.
    Serve(Serve),
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
    /// A recorded model answer, one JSON chunk a line; may be given several times, runs take them in turn.
    #[arg(long, value_name = "FILE")]
    model_recording: Vec<PathBuf>,
    /// Milliseconds between two chunks of the model; 0: as fast as it can. Default: a human pace.
    #[arg(long, value_name = "MS")]
    model_pace: Option<u64>,
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
    let done = match arguments.command {
        Command::Dev(dev) => runtime.block_on(node::dev(dev)),
        Command::Serve(serve) => runtime.block_on(node::serve(serve)),
    };
    // Reads of standard input may still block a thread.
    runtime.shutdown_background();
    done
}
