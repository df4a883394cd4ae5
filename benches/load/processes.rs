//! The processes that are measured. Each is ended when it is dropped.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use textledger::{
    domain::Role,
    http::auth::{self, Claims},
};

use crate::requests::{ACCOUNT_SID, AUTH_TOKEN, PUBLIC_URL, SENDER};

/// Of nought bytes.
const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

pub const JWT_SECRET: &str = "a secret of the benchmarks, long enough";

/// Clock ticks a second in `/proc`, which Linux has at 100 on every machine.
const TICKS_PER_S: f64 = 100.0;

/// How long a process may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A process that is killed when it is dropped.
struct Guarded(Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Processor time of a process so far, user and system together, in microseconds.
pub fn processor_time_us(id: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).context("the process has ended")?;
    // The name, in brackets, may hold blanks; user and system time are the 12th and 13th field behind it.
    let (_, fields) = stat.rsplit_once(')').context("/proc has another form")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>()? + fields[12].parse::<f64>()?;
    Ok(ticks / TICKS_PER_S * 1e6)
}

/// The most memory that a process has ever had, in KiB.
pub fn peak_memory_kib(id: u32) -> anyhow::Result<u64> {
    status_kib(id, "VmHWM:")
}

/// The memory that a process has now, in KiB.
pub fn memory_kib(id: u32) -> anyhow::Result<u64> {
    status_kib(id, "VmRSS:")
}

fn status_kib(id: u32, name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("the process has ended")?;
    let size = status.lines().find_map(|line| line.strip_prefix(name)).context("/proc has another form")?;
    Ok(size.trim().trim_end_matches(" kB").parse()?)
}

/// How much a process has had written to disk so far, in bytes.
pub fn written_bytes(id: u32) -> anyhow::Result<u64> {
    let io = fs::read_to_string(format!("/proc/{id}/io")).context("the process has ended")?;
    let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(written.context("/proc has another form")?.parse()?)
}

/// A server that tells its address in a line of JSON.
pub struct Listening {
    process: Guarded,
    address: SocketAddr,
}

impl Listening {
    fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut process = Guarded(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?);
        let mut line = String::new();
        BufReader::new(process.0.stdout.as_mut().context("stdout is piped")?).read_line(&mut line)?;
        let told: Value = serde_json::from_str(&line).context("the server did not start")?;
        let address = told["address"].as_str().context("no address was told")?.parse()?;
        Ok(Self { process, address })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }
}

/// This program again, as the bare handler.
pub fn bare_handler() -> anyhow::Result<Listening> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--bare-handler");
    Listening::start(command)
}

/// A simulator of Twilio, for the account of the service.
pub fn simulator() -> anyhow::Result<Listening> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_textledger"));
    command.args(["simulator", "--listen", "127.0.0.1:0", "--account-sid", ACCOUNT_SID]);
    command.env("TWILIO_AUTH_TOKEN", AUTH_TOKEN);
    Listening::start(command)
}

/// The service, as its users run it: default settings, logs and all.
pub struct Service {
    listening: Listening,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
}

impl Service {
    /// Starts the service on `store`, behind [`PUBLIC_URL`].
    pub fn start(store: &str) -> anyhow::Result<Self> {
        Self::start_with(&[("TEXTLEDGER_STORE", store), ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)])
    }

    /// Starts the service with these settings, in a folder of its own on the disk that the build is on.
    pub fn start_with(settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let listening = Self::start_in(folder.path(), &settings)?;
        Ok(Self { listening, settings, folder })
    }

    /// Kills it, as a crash does, and starts it again: how long it takes until it listens.
    pub fn start_after_kill(&mut self) -> anyhow::Result<Duration> {
        self.listening.process.0.kill()?;
        self.listening.process.0.wait()?;
        let began = Instant::now();
        self.listening = Self::start_in(self.folder.path(), &self.settings)?;
        Ok(began.elapsed())
    }

    fn start_in(folder: &Path, settings: &[(String, String)]) -> anyhow::Result<Listening> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_textledger"));
        command.arg("serve").current_dir(folder).env_clear().envs([
            ("TEXTLEDGER_LISTEN", "127.0.0.1:0"),
            ("TEXTLEDGER_JWT_SECRET", JWT_SECRET),
            ("TEXTLEDGER_MASTER_KEY", MASTER_KEY),
            ("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
            ("TWILIO_AUTH_TOKEN", AUTH_TOKEN),
            ("TWILIO_PHONE_NUMBER", SENDER),
            // Everything that was stored is read again afterwards, as fast as it can be.
            ("TEXTLEDGER_API_RATE", "1000000"),
        ]);
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        Listening::start(command)
    }

    /// The folder in which it runs.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.listening.id()
    }

    /// The URL of `path`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A token that may send.
    pub fn token(&self) -> String {
        let claims = Claims::new("bench", Role::Sender, Default::default(), 4_000_000_000);
        auth::mint(&JWT_SECRET.into(), &claims)
    }

    /// Reads every event back, page by page.
    pub async fn count_deliveries(&self) -> anyhow::Result<usize> {
        let token = self.token();
        let http = reqwest::Client::new();
        let (mut count, mut cursor) = (0, String::new());
        loop {
            let url = self.url(&format!("/api/sms/events?limit=500{cursor}"));
            let page: Value = http.get(url).bearer_auth(&token).send().await?.json().await?;
            count += page["events"].as_array().context("no page of events")?.len();
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(count),
            }
        }
    }
}

/// A `redis-server` of its own.
pub struct RedisServer {
    process: Guarded,
    port: u16,
    empty_bytes: u64,
    _folder: tempfile::TempDir,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk, unless `settings` say otherwise.
    pub async fn start(settings: &[&str]) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = Command::new("redis-server");
        command.args([
            "--bind",
            "127.0.0.1",
            "--port",
            &port.to_string(),
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.args(settings).arg("--dir").arg(folder.path()).stdout(Stdio::null());
        let process = Guarded(command.spawn().context("redis-server is missing: scripts/test installs it")?);
        let mut server = Self { process, port, empty_bytes: 0, _folder: folder };
        let give_up = Instant::now() + START_TIMEOUT;
        server.empty_bytes = loop {
            match server.used_bytes().await {
                Ok(used) => break used,
                Err(error) if Instant::now() > give_up => bail!("redis-server does not answer: {error}"),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        Ok(server)
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// A connection of its own.
    pub async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    /// Entries of the deliveries stream.
    pub async fn count_deliveries(&self) -> redis::RedisResult<usize> {
        redis::cmd("XLEN").arg("tl:{default:0}:deliveries").query_async(&mut self.connect().await?).await
    }

    /// How much memory the data takes.
    pub async fn grown_bytes(&self) -> anyhow::Result<u64> {
        Ok(self.used_bytes().await? - self.empty_bytes)
    }

    async fn used_bytes(&self) -> anyhow::Result<u64> {
        let info: String = redis::cmd("INFO").arg("memory").query_async(&mut self.connect().await?).await?;
        let used = info.lines().find_map(|line| line.strip_prefix("used_memory:"));
        let used = used.context("INFO tells no used_memory")?.trim().parse()?;
        ensure!(used > 0, "INFO tells no memory at all");
        Ok(used)
    }
}
