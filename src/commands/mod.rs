//! The command line: one file per sub-command.

mod serve;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use crate::config::{Config, Invalid};

/// textledger stands between an application and Twilio: it sends SMS, MMS and WhatsApp messages, verifies what
/// Twilio posts back, keeps every message's delivery state and an ordered stream of every change, and obeys STOP.
///
/// Settings are environment variables, or the same names in lower case in a TOML file. With none at all, `serve`
/// listens on 127.0.0.1:8080 over a store in ./data.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct CommandLine {
    /// A TOML file with settings; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the service.
    Serve(serve::Serve),
    /// Print a bearer token, signed with the service's own key.
    Token(token::Token),
}

/// Runs the process's command line. 0 when all went well, 1 when the work failed, 2 for bad usage or configuration.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    let result = match line.command {
        Command::Serve(command) => command.run(line.config.as_deref()),
        Command::Token(command) => command.run(line.config.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                eprintln!("textledger: {line}");
            }
            let misused = error.is::<Invalid>() || error.is::<Misuse>();
            ExitCode::from(if misused { 2 } else { 1 })
        }
    }
}

/// What was asked for cannot be done as it was said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

/// Reads the configuration and starts logging by it.
fn configure(file: Option<&std::path::Path>) -> anyhow::Result<Config> {
    let config = Config::load(file)?;
    crate::telemetry::start(&config.log).map_err(|error| Misuse(error.to_string()))?;
    Ok(config)
}

/// Runs `work` on a runtime of its own.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Returns when the process is asked to stop: Ctrl-C, or SIGTERM.
async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
