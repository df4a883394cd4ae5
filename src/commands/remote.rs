//! A running service, as its callers reach it.

use std::time::Duration;

use anyhow::{Context, anyhow};
use reqwest::{Client, RequestBuilder, Response, redirect::Policy};
use serde::{Deserialize, de::DeserializeOwned};

pub(super) use reqwest::{Method, Url};

use super::jwt_secret;
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::{Organization, Role},
    http::auth::Claims,
    startup,
};

/// How long a connection may take to be made.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// How long the service may be silent: longer than it takes for a part of a file.
const SILENCE_MAX: Duration = Duration::from_secs(80);

/// How long the token is good that is signed for this: longer than a large file takes.
const TOKEN_LIFE: Duration = Duration::from_secs(6 * 60 * 60);

/// A service and the token that it takes.
pub(super) struct Remote {
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

/// Reads a service's URL.
pub(super) fn url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "expected a URL such as http://127.0.0.1:8080".to_owned())
}

impl Remote {
    /// The service at `url`, which an administrator of `organization` called `actor` asks.
    pub(super) fn new(
        url: &Url,
        organization: Organization,
        actor: &str,
        config: &Config,
    ) -> anyhow::Result<Self> {
        let rules = startup::token_rules(config);
        let life = rules.max_age.map_or(TOKEN_LIFE, |max| TOKEN_LIFE.min(max));
        let exp = (SystemClock.now_ms() + life).as_secs();
        let token = rules.mint(&jwt_secret(config)?, &Claims::new(actor, Role::Admin, organization, exp));
        let client = Client::builder().redirect(Policy::none()).connect_timeout(CONNECT_TIME_MAX);
        let http = client.read_timeout(SILENCE_MAX).build()?;
        Ok(Self { http, base: url.as_str().trim_end_matches('/').to_owned(), token })
    }

    /// Where it is.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// A request for `path`.
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// The answer, if it is a good one.
    pub(super) async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Response> {
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

    /// What is answered, if it is a good answer.
    pub(super) async fn ask_for<T: DeserializeOwned>(&self, request: RequestBuilder) -> anyhow::Result<T> {
        self.ask(request).await?.json().await.map_err(|_| self.is_no_service())
    }

    /// What is said of an answer that is none of ours.
    pub(super) fn is_no_service(&self) -> anyhow::Error {
        anyhow!("something else than textledger answers at {}: check --url", self.base)
    }
}
