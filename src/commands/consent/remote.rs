//! A running service, as its callers reach it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Client, RequestBuilder, Response, Url, header::CONTENT_TYPE, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    app::consents::{
        csv,
        record::{Fault, FileRecord, Imported},
    },
    clock::{Clock, SystemClock},
    commands::jwt_secret,
    config::Config,
    domain::{Organization, Role},
    http::auth::{self, Claims},
};

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the service may be silent: longer than it takes for a part of a file.
const SILENCE_MAX: Duration = Duration::from_secs(80);

/// How long the token is good that is signed for this, in seconds: longer than a large file takes.
const TOKEN_LIFE_S: u64 = 6 * 60 * 60;

/// A page of the service's audit.
#[derive(Deserialize)]
pub(in crate::commands) struct AuditPage {
    pub(in crate::commands) entries: Vec<Value>,
    pub(in crate::commands) next_cursor: Option<String>,
}

/// A service and the token that it takes.
pub(in crate::commands) struct Remote {
    http: Client,
    base: String,
    token: String,
}

/// What a failure says; the rest of it is for programs.
#[derive(Deserialize)]
struct Problem {
    detail: String,
    mend: String,
}

/// What came of a part of a file.
#[derive(Deserialize)]
struct Answer {
    imported: usize,
    unchanged: usize,
    errors: Vec<LineLeftOut>,
    #[serde(default, rename = "kept_opt_out")]
    kept: Vec<LineLeftOut>,
}

#[derive(Deserialize)]
struct LineLeftOut {
    line: u64,
    detail: String,
}

/// Reads a service's URL.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL such as http://127.0.0.1:8080".to_owned())
}

impl Remote {
    pub(super) fn new(
        url: &Url,
        organization: Organization,
        actor: &str,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let exp = SystemClock.now_ms().as_secs() + TOKEN_LIFE_S;
        let claims = Claims::new(actor, Role::Admin, organization, exp);
        let token = auth::mint(&jwt_secret(config)?, &claims);
        let client = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIME_MAX);
        let http = client.read_timeout(SILENCE_MAX).build()?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned(), token })
    }

    /// Imports some records of a file, whose lines the outcome names.
    pub(super) async fn import(&self, records: &[FileRecord]) -> anyhow::Result<Imported> {
        let file = csv::write_records(records);
        let lines = csv::record_lines(&file);
        let request = self.http.post(format!("{}/api/sms/consent/import", self.base));
        let answer = self.ask(request.header(CONTENT_TYPE, "text/csv").body(file)).await?;
        let Answer { imported, unchanged, errors, kept } =
            answer.json().await.map_err(|_| self.is_no_service())?;
        if let Some(fault) = errors.first() {
            // They were read here before: what is refused there is read otherwise by another version.
            return Err(anyhow!("{} refuses a line: {}", self.base, fault.detail));
        }
        let fault_of = |LineLeftOut { line, detail }| {
            let index = lines.binary_search(&line).map_err(|_| self.is_no_service())?;
            Ok(Fault { line: records[index].line, detail })
        };
        let kept = kept.into_iter().map(fault_of).collect::<anyhow::Result<_>>()?;
        Ok(Imported { applied: imported, unchanged, kept })
    }

    pub(super) async fn export(&self) -> anyhow::Result<Response> {
        self.ask(self.http.get(format!("{}/api/sms/consent/export", self.base))).await
    }

    /// The page of the audit that `query` asks for.
    pub(in crate::commands) async fn audit(&self, query: &[(&str, String)]) -> anyhow::Result<AuditPage> {
        let request = self.http.get(format!("{}/api/sms/audit", self.base)).query(query);
        self.ask(request).await?.json().await.map_err(|_| self.is_no_service())
    }

    /// The answer, if it is a good one.
    async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Response> {
        let answer = request.bearer_auth(&self.token).send().await.map_err(reqwest::Error::without_url);
        let answer = answer
            .with_context(|| format!("{} cannot be reached: check --url and the service", self.base))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        match answer.json::<Problem>().await {
            Ok(Problem { detail, mend }) => Err(anyhow!("{} answered {status}: {detail}; {mend}", self.base)),
            Err(_) => Err(self.is_no_service().context(format!("{} answered {status}", self.base))),
        }
    }

    fn is_no_service(&self) -> anyhow::Error {
        anyhow!("something else than textledger answers at {}: check --url", self.base)
    }
}
