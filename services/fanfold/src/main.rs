//! Fanfold: the node and the command line that talks to one.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = fanfold::cli::Arguments::parse();
    match fanfold::cli::run(arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("fanfold: {error:#}");
            ExitCode::FAILURE
        }
    }
}
