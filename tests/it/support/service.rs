//! The real program, started as its user starts it, and what a test says to it.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use reqwest::{Client, RequestBuilder, Response, header::CONTENT_TYPE};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use secrecy::SecretString;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use textledger::{
    domain::{Organization, Role},
    http::auth::{self, Claims},
    sealing::MasterKeys,
    twilio::{
        Form,
        signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
    },
};

use super::{accounts, eventually, redis_server::RedisServer};

pub const ACCOUNT_SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const AUTH_TOKEN: &str = "0123456789abcdef0123456789abcdef";
pub const OUR_NUMBER: &str = "+15005550006";
pub const PERSON: &str = "+14155550100";

/// By which Twilio is told to reach the service; nothing listens there.
pub const PUBLIC_URL: &str = "https://sms.example.com/textledger";

/// Of nought bytes.
pub const MASTER_KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";

/// The same, for a store that a test opens itself.
pub fn master_keys() -> MasterKeys {
    MasterKeys::parse(MASTER_KEY).unwrap()
}

pub const JWT_SECRET: &str = "a secret of the tests, long enough";

/// Long after these tests.
pub const TOKEN_EXP_S: u64 = 4_000_000_000;

/// An API key that may send, and one that may read, once [`api_keys`] is set.
pub const SENDER_KEY: &str = "the sender's key";
pub const VIEWER_KEY: &str = "the viewer's key";

/// The variable that names the program whose service is tested, if it is another build than that of the tests.
const TESTED_PROGRAM: &str = "TESTED_PROGRAM";

/// The program whose service is tested.
pub fn tested_program() -> String {
    std::env::var(TESTED_PROGRAM).unwrap_or_else(|_| env!("CARGO_BIN_EXE_textledger").to_owned())
}

/// `TEXTLEDGER_API_KEYS` for both.
pub fn api_keys() -> String {
    let hash = |key: &str| hex::encode(Sha256::digest(key));
    format!("app:sender:{},eyes:viewer:{}", hash(SENDER_KEY), hash(VIEWER_KEY))
}

/// Which store the service runs on.
#[derive(Debug, Clone, Copy)]
pub enum On {
    Embedded,
    Redis,
}

/// A running service. Dropping it ends it.
pub struct TestService {
    child: Option<Child>,
    address: String,
    webhook_address: Option<String>,
    metrics_address: Option<String>,
    /// The limit of open files that it runs under, if it is another than that of the tests.
    files: Option<usize>,
    settings: Vec<(String, String)>,
    folder: tempfile::TempDir,
    pub public_url: String,
    http: Client,
}

impl TestService {
    /// Starts the service on a fresh store.
    pub async fn start(on: On) -> Self {
        Self::start_with(on, &[("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL)]).await
    }

    /// Starts the service on a fresh store with further settings.
    pub async fn start_with(on: On, settings: &[(&str, &str)]) -> Self {
        Self::start_limited(on, None, settings).await
    }

    /// The same in a process that may have `files` open, if that is given, and that takes files which may not grow any more for a full
    /// disk.
    pub async fn start_limited(on: On, files: Option<usize>, settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = match on {
            On::Embedded => format!("embedded:{}", folder.path().join("data").display()),
            On::Redis => RedisServer::shared().url(),
        };
        let prefix = RedisServer::fresh_prefix();
        let mut all = vec![
            ("TEXTLEDGER_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
            ("TEXTLEDGER_STORE".to_owned(), store),
            ("TEXTLEDGER_KEY_PREFIX".to_owned(), prefix),
            ("TEXTLEDGER_JWT_SECRET".to_owned(), JWT_SECRET.to_owned()),
            ("TEXTLEDGER_MASTER_KEY".to_owned(), MASTER_KEY.to_owned()),
            ("TEXTLEDGER_LOG".to_owned(), "debug".to_owned()),
            ("TWILIO_API_BASE_URL".to_owned(), accounts::base_url().to_owned()),
            // Tests look more often than callers may.
            ("TEXTLEDGER_API_RATE".to_owned(), "100000".to_owned()),
            // And nothing at Twilio lags for minutes.
            ("TEXTLEDGER_LOST_ANSWER_AFTER".to_owned(), "20s".to_owned()),
            ("TWILIO_ACCOUNT_SID".to_owned(), ACCOUNT_SID.to_owned()),
            ("TWILIO_AUTH_TOKEN".to_owned(), AUTH_TOKEN.to_owned()),
            ("TWILIO_PHONE_NUMBER".to_owned(), OUR_NUMBER.to_owned()),
            ("TWILIO_WHATSAPP_NUMBER".to_owned(), OUR_NUMBER.to_owned()),
        ];
        all.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let mut service = Self {
            child: None,
            address: String::new(),
            webhook_address: None,
            metrics_address: None,
            files,
            settings: all,
            folder,
            public_url: String::new(),
            http: Client::new(),
        };
        service.launch();
        service
    }

    /// Starts the program and waits for the line that tells where it listens.
    fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let program = tested_program();
        let mut command = match self.files {
            Some(files) => {
                let mut shell = Command::new("/bin/sh");
                let run = format!("trap '' XFSZ && ulimit -n {files} && exec \"$0\" \"$@\"");
                shell.args(["-c", &run, &program]);
                shell
            }
            None => Command::new(program),
        };
        command.arg("serve").current_dir(self.folder.path()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let mut address_of = |event: &str| {
            let line = lines.next().and_then(Result::ok).unwrap_or_default();
            let listening: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{}", self.log()));
            assert_eq!(listening["event"], event);
            listening["address"].as_str().unwrap().to_owned()
        };
        let is_set = |name: &str| self.settings.iter().any(|(given, _)| given == name);
        let address = address_of("listening");
        let webhook_address =
            is_set("TEXTLEDGER_WEBHOOK_LISTEN").then(|| address_of("listening_for_webhooks"));
        let metrics_address =
            is_set("TEXTLEDGER_METRICS_LISTEN").then(|| address_of("listening_for_metrics"));
        drop(lines);
        self.child = Some(child);
        (self.address, self.webhook_address, self.metrics_address) =
            (address, webhook_address, metrics_address);
        let configured = self.settings.iter().rev().find(|(name, _)| name == "TEXTLEDGER_PUBLIC_URL");
        self.public_url = configured.map_or_else(|| self.url(""), |(_, url)| url.clone());
    }

    /// Sends the process a signal, by name.
    pub fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("the service runs").id().to_string();
        let sent = Command::new("kill").args([format!("-{name}"), id]).status().unwrap();
        assert!(sent.success());
    }

    /// Lets no file of the process become longer than `bytes`, or any again: the service was started limited.
    pub fn limit_file_size(&self, bytes: Option<u64>) {
        let id = self.child.as_ref().expect("the service runs").id();
        let id = Pid::from_raw(id.try_into().unwrap());
        prlimit(id, Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
    }

    /// Ends the process as a crash does.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the service runs");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Asks the process to stop, and returns its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for the end of the process, and returns its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let mut child = self.child.take().expect("the service runs");
        eventually("the service ends", async || child.try_wait().unwrap()).await.code()
    }

    /// Starts again on the same data and, so that URLs stay good, the same port.
    pub fn start_again(&mut self) {
        let address = self.address.clone();
        let listen = self.settings.iter_mut().find(|(name, _)| name == "TEXTLEDGER_LISTEN").unwrap();
        listen.1 = address;
        self.launch();
    }

    /// Gives the setting `name` another value from the next start on.
    pub fn set(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_owned(), value.to_owned()));
    }

    /// Runs another command of the program with this service's settings and `further` ones, and waits for its end.
    pub async fn run(&self, arguments: &[&str], further: &[(&str, &str)]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_textledger"));
        command.args(arguments).current_dir(self.folder.path()).env_clear().kill_on_drop(true);
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("TEXTLEDGER_LISTEN", &self.address).envs(further.iter().copied());
        command.output().await.unwrap()
    }

    /// Runs a command of the program on a terminal, and returns everything that it is sent: output, errors and log.
    pub async fn run_on_terminal(&self, arguments: &[&str], further: &[(&str, &str)]) -> String {
        let line = [&[env!("CARGO_BIN_EXE_textledger")], arguments].concat();
        let line = line.iter().map(|argument| format!("'{argument}'")).collect::<Vec<_>>().join(" ");
        let mut command = tokio::process::Command::new("/usr/bin/script");
        command.args(["-qec", &line, "/dev/null"]).current_dir(self.folder.path()).env_clear();
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.env("TEXTLEDGER_LISTEN", &self.address).envs(further.iter().copied());
        // Its own colors are no more than confusing here.
        command.envs([("SHELL", "/bin/sh"), ("NO_COLOR", "1")]).kill_on_drop(true);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("script, which lends a terminal, is installed");
        // At the end of its input it would type an end of file.
        let input = child.stdin.take();
        let sent = child.wait_with_output().await.unwrap().stdout;
        drop(input);
        String::from_utf8(sent).unwrap()
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        let mut log = String::new();
        std::fs::File::open(self.log_path()).unwrap().read_to_string(&mut log).unwrap();
        log
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// The URL of `path`, as a caller on this machine reaches it.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A GET as `role`.
    pub fn get(&self, role: Role, path: &str) -> RequestBuilder {
        self.http.get(self.url(path)).bearer_auth(token(role))
    }

    /// A POST of JSON as `role`.
    pub fn post(&self, role: Role, path: &str, body: &Value) -> RequestBuilder {
        self.http.post(self.url(path)).bearer_auth(token(role)).json(body)
    }

    /// The answer to a GET by an administrator of `organization`.
    pub async fn get_in(&self, organization: &str, path: &str) -> (u16, Value) {
        answer(self.http.get(self.url(path)).bearer_auth(token_in(organization, Role::Admin))).await
    }

    /// The answer to a POST of JSON by an administrator of `organization`.
    pub async fn post_in(&self, organization: &str, path: &str, body: &Value) -> (u16, Value) {
        let request = self.http.post(self.url(path)).json(body);
        answer(request.bearer_auth(token_in(organization, Role::Admin))).await
    }

    /// A request without a token.
    pub fn anonymous(&self, method: reqwest::Method, path: &str) -> RequestBuilder {
        self.http.request(method, self.url(path))
    }

    /// Sends a message as an application does.
    pub async fn send(&self, to: &str, message: &str) -> (u16, Value) {
        let body = json!({ "to_number": to, "message": message });
        answer(self.post(Role::Sender, "/api/sms/send", &body)).await
    }

    /// The message's state by SID or id.
    pub async fn message_status(&self, name: &str) -> (u16, Value) {
        answer(self.get(Role::Viewer, &format!("/api/sms/message-status/{name}"))).await
    }

    /// All events so far.
    pub async fn events(&self) -> Vec<Value> {
        let (status, page) = answer(self.get(Role::Viewer, "/api/sms/events?limit=500")).await;
        assert_eq!((status, &page["next_cursor"]), (200, &Value::Null));
        page["events"].as_array().unwrap().clone()
    }

    /// Posts a webhook as Twilio does, signed with `token`.
    pub async fn webhook_signed_with(&self, token: &str, target: &str, form: &[(&str, &str)]) -> Response {
        let form: Form = form.iter().map(|(name, value)| (*name, *value)).collect();
        let key = SigningKey::new(Algorithm::HmacSha1, &SecretString::from(token));
        let signature = signature::sign(&key, &format!("{}{target}", self.public_url), &form);
        self.raw_webhook(target, Some(&signature), form.encode().into_bytes()).await
    }

    /// Posts a webhook as Twilio does, and returns the answer's status; `None` if there is no answer.
    pub async fn try_webhook(&self, target: &str, form: &[(&str, &str)]) -> Option<u16> {
        let form: Form = form.iter().map(|(name, value)| (*name, *value)).collect();
        let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
        let signature = signature::sign(&key, &format!("{}{target}", self.public_url), &form);
        let request = self.http.post(self.url(target)).body(form.encode());
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let response = request.header(SIGNATURE_HEADER, signature).send().await;
        response.ok().map(|response| response.status().as_u16())
    }

    /// Posts events as a webhook sink of Event Streams does, signed with [`AUTH_TOKEN`].
    pub async fn post_events(&self, events: &Value) -> Response {
        let body = events.to_string().into_bytes();
        let target = format!("/webhooks/twilio/events?bodySHA256={}", signature::body_sha256_hex(&body));
        let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
        let signature = signature::sign(&key, &format!("{}{target}", self.public_url), &Form::default());
        let request = self.http.post(self.url(&target)).body(body).header(SIGNATURE_HEADER, signature);
        request.header(CONTENT_TYPE, "application/json").send().await.unwrap()
    }

    /// What `/metrics` says of the sample `name{labels}`, or 0 if it has none.
    pub async fn metric(&self, sample: &str) -> u64 {
        let address = self.metrics_address.as_ref().unwrap_or(&self.address);
        let answer = self.http.get(format!("http://{address}/metrics")).send().await.unwrap();
        let written = answer.text().await.unwrap();
        let value = written.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// The last refused signatures, as an administrator sees them.
    pub async fn refusals(&self) -> Vec<Value> {
        let (status, answer) = answer(self.get(Role::Admin, "/api/sms/webhook-refusals")).await;
        assert_eq!(status, 200);
        answer["refusals"].as_array().unwrap().clone()
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it listens for webhooks alone.
    pub fn webhook_address(&self) -> &str {
        self.webhook_address.as_ref().expect("TEXTLEDGER_WEBHOOK_LISTEN was given")
    }

    /// Asks at `address` from now on, which is another one of this service.
    pub fn talk_to(&mut self, address: String) {
        self.address = address;
    }

    /// Where it listens for metrics alone.
    pub fn metrics_address(&self) -> &str {
        self.metrics_address.as_ref().expect("TEXTLEDGER_METRICS_LISTEN was given")
    }

    /// The memory that the process has taken, in kilobytes.
    pub fn memory_kb(&self) -> u64 {
        let id = self.child.as_ref().expect("the service runs").id();
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        resident.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Every setting that was given, and its value; of one that was given twice, the last counts.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The value that the setting `name` was given.
    pub fn setting(&self, name: &str) -> &str {
        let given = self.settings.iter().rev().find(|(known, _)| known == name);
        &given.expect("the setting was given").1
    }

    /// The folder that the process runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What `/readyz` answers.
    pub async fn readiness(&self) -> (u16, Value) {
        answer(self.anonymous(reqwest::Method::GET, "/readyz")).await
    }

    /// Whether messages can be sent, as a status: 200 says too that nothing is left in the spool.
    pub async fn ready(&self) -> u16 {
        answer(self.anonymous(reqwest::Method::GET, "/readyz?for=sends")).await.0
    }

    /// All events so far, page by page.
    pub async fn all_events(&self) -> Vec<Value> {
        let (mut events, mut cursor) = (Vec::new(), String::new());
        loop {
            let path = format!("/api/sms/events?limit=500{cursor}");
            let (status, page) = answer(self.get(Role::Viewer, &path)).await;
            assert_eq!(status, 200, "{page}");
            events.extend(page["events"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return events,
            }
        }
    }

    /// Posts a webhook as Twilio does.
    pub async fn webhook(&self, target: &str, form: &[(&str, &str)]) -> Response {
        self.webhook_signed_with(AUTH_TOKEN, target, form).await
    }

    /// Posts bytes to a webhook.
    pub async fn raw_webhook(&self, target: &str, signature: Option<&str>, body: Vec<u8>) -> Response {
        let request = self.http.post(self.url(target)).body(body);
        let request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded; charset=utf-8");
        let request = match signature {
            Some(signature) => request.header(SIGNATURE_HEADER, signature),
            None => request,
        };
        request.send().await.unwrap()
    }
}

impl Drop for TestService {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// A token of `role` for the default organization.
pub fn token(role: Role) -> String {
    token_in(Organization::default().as_str(), role)
}

/// A token of `role` for `organization`.
pub fn token_in(organization: &str, role: Role) -> String {
    let org = Organization::parse(organization).unwrap();
    auth::mint(&JWT_SECRET.into(), &Claims::new("tester", role, org, TOKEN_EXP_S))
}

/// A token of the user `user`, which says that `phone_number` is theirs.
pub fn token_of(user: &str, phone_number: Option<&str>) -> String {
    let phone_number = phone_number.map(str::to_owned);
    let claims = Claims::new(user, Role::User, Organization::default(), TOKEN_EXP_S);
    auth::mint(&JWT_SECRET.into(), &Claims { phone_number, ..claims })
}

/// Status and JSON of an answer; null if there is no JSON in it.
pub async fn answer(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, serde_json::from_slice(&response.bytes().await.unwrap()).unwrap_or(Value::Null))
}

/// A status callback's form.
pub fn callback<'a>(message_sid: &'a str, status: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("AccountSid", ACCOUNT_SID),
        ("ApiVersion", "2010-04-01"),
        ("From", OUR_NUMBER),
        ("MessageSid", message_sid),
        ("MessageStatus", status),
        ("SmsSid", message_sid),
        ("SmsStatus", status),
        ("To", PERSON),
    ]
}

/// An incoming message's form.
pub fn reply<'a>(message_sid: &'a str, from: &'a str, body: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("AccountSid", ACCOUNT_SID),
        ("Body", body),
        ("From", from),
        ("MessageSid", message_sid),
        ("NumMedia", "0"),
        ("NumSegments", "1"),
        ("SmsMessageSid", message_sid),
        ("SmsSid", message_sid),
        ("To", if from.starts_with("whatsapp:") { "whatsapp:+15005550006" } else { OUR_NUMBER }),
    ]
}
