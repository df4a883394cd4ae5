//! The command line: one file per sub-command.

mod actor;
mod audit;
mod backup;
mod check;
mod config;
mod consent;
mod demo;
mod erase;
mod key;
mod remote;
mod restore;
mod retention;
mod serve;
mod simulator;
mod store;
mod through;
mod token;
mod traffic;

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use secrecy::SecretString;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    config::{Config, Invalid},
    printable::Printable,
    startup,
};

/// textledger stands between an application and Twilio: it sends SMS, MMS and WhatsApp messages, verifies what
/// Twilio posts back, keeps every message's delivery state and an ordered stream of every change, and obeys STOP.
///
/// Settings are environment variables, or the same names in lower case in a TOML file. With none at all, `serve`
/// listens on 127.0.0.1:8080 over a store in ./data. To see it work without a Twilio account: `textledger demo`.
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
    /// Show the service at work against a simulated Twilio: no account, no server needed.
    Demo(demo::Demo),
    /// Run only the stand-in for Twilio: answers like api.twilio.com and posts signed callbacks.
    Simulator(simulator::Simulator),
    /// Look at configuration, store, credentials and public URL, and say what to mend.
    Check(check::Check),
    /// Print every setting with its default and meaning, or what is in force.
    Config(config::ConfigCommand),
    /// Write a backup of the embedded store, also while a service runs.
    Backup(backup::Backup),
    /// Make the embedded store of a backup.
    Restore(restore::Restore),
    /// Accept a store that is not the one that this installation knew.
    Store(store::Store),
    /// Move consent in and out as CSV, say what a reply means, make a link for a person.
    Consent(consent::Consent),
    /// Erase one person's data, and keep obeying what they have opted out of.
    Erase(erase::Erase),
    /// Make, list, rotate and revoke API keys.
    #[command(visible_alias = "api-key")]
    Key(key::Key),
    /// Print who did what, a line of JSON for each.
    Audit(audit::Audit),
    /// List, release and refuse what is held as a burst of first messages.
    Traffic(traffic::Traffic),
    /// Tell what is older than it is kept, and would be taken away now.
    Retention(retention::Retention),
    /// Print a bearer token, signed with the service's own key.
    Token(token::Token),
}

/// Runs the process's command line. 0 when all went well, 1 when the work failed, 2 for bad usage or configuration.
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    let result = match line.command {
        Command::Serve(command) => command.run(line.config.as_deref()),
        Command::Demo(command) => command.run(line.config.as_deref()),
        Command::Simulator(command) => command.run(),
        Command::Check(command) => command.run(line.config.as_deref()),
        Command::Config(command) => command.run(line.config.as_deref()),
        Command::Backup(command) => command.run(line.config.as_deref()),
        Command::Restore(command) => command.run(line.config.as_deref()),
        Command::Store(command) => command.run(line.config.as_deref()),
        Command::Consent(command) => command.run(line.config.as_deref()),
        Command::Erase(command) => command.run(line.config.as_deref()),
        Command::Key(command) => command.run(line.config.as_deref()),
        Command::Audit(command) => command.run(line.config.as_deref()),
        Command::Traffic(command) => command.run(line.config.as_deref()),
        Command::Retention(command) => command.run(line.config.as_deref()),
        Command::Token(command) => command.run(line.config.as_deref()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough, as `head` does.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            for line in format!("{error:#}").lines() {
                complain(line);
            }
            let misused = error.is::<Invalid>() || error.is::<Misuse>();
            ExitCode::from(if misused { 2 } else { 1 })
        }
    }
}

/// Prints a line on stdout; fails, rather than panics, when nobody reads it any more.
fn say(line: impl fmt::Display) -> anyhow::Result<()> {
    say_as_is(Printable(line))
}

/// Prints a line that holds a terminal's own codes, and of other people's words only what is [`Printable`].
fn say_as_is(line: impl fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(io::stdout().lock(), "{line}")?)
}

/// Prints a line on stderr.
fn complain(line: impl fmt::Display) {
    eprintln!("textledger: {}", Printable(line));
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// What was asked for cannot be done as it was said.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

/// The folder that `path` is in.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Reads the configuration and starts logging by it.
fn configure(file: Option<&Path>) -> anyhow::Result<Config> {
    let config = Config::load(file)?;
    crate::telemetry::start(&config.log).map_err(|error| Misuse(error.to_string()))?;
    Ok(config)
}

/// The secret that signs tokens, for a command that speaks to a running service. A secret made here is one that no running
/// service knows, so a caller is told of it.
fn jwt_secret(config: &Config) -> anyhow::Result<SecretString> {
    let file = startup::secret_file(config, startup::JWT_SECRET).filter(|file| !file.exists());
    let secret = startup::jwt_secret(config)?;
    if let Some(file) = file {
        let file = std::path::absolute(&file).unwrap_or(file);
        complain(format_args!(
            "no secret that signs tokens was found, so a new one was made: {}. A running service that keeps \
             its data elsewhere will not accept the token: run this command in that service's folder, or give both the \
             same TEXTLEDGER_DATA_DIR or TEXTLEDGER_JWT_SECRET",
            file.display()
        ));
    }
    Ok(secret)
}

/// Runs `work` on a runtime of its own.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// The signals that ask the process to stop: Ctrl-C, and SIGTERM. They are waited for from the moment that this is made; before, they
/// end the process at once.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Returns at the next one.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
