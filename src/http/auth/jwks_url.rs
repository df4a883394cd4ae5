//! The public keys of the platform from where it publishes them: fetched at the start, again every so often, and when a
//! token names one that is not known.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use reqwest::{Client, StatusCode, Url, redirect::Policy};

use tracing::Instrument;

use super::{Authenticator, InvalidJwks, KeySummary, PublicKeys};

/// How long a fetch may take: the start waits for it, and whoever signs in with a new key.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// The largest set that is taken, in bytes: a hundred times what platforms publish.
const BYTES_MAX: usize = 256 * 1024;

/// How often the keys are fetched because of a key that is not known: anybody can make up its name.
const UNKNOWN_KEY_INTERVAL: Duration = Duration::from_secs(30);

/// How often the keys are fetched as long as there are none: nobody whom the platform knows can sign in.
const WITHOUT_KEYS_INTERVAL: Duration = Duration::from_secs(5);

/// Where keys are published.
pub struct JwksUrl {
    http: Client,
    url: Url,
    fetches: Mutex<Fetches>,
    /// Held while the keys are fetched, so that no earlier answer takes the place of a later one, and who asks meanwhile waits.
    asking: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of the fetches.
#[derive(Default)]
struct Fetches {
    /// When the last one for an unknown key began.
    for_unknown_key: Option<Instant>,
    /// When the last one succeeded.
    succeeded: Option<Instant>,
}

/// Why keys were not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// There was no answer, or not a whole one, and why.
    #[error("TEXTLEDGER_JWKS_URL: {0}")]
    Http(String),
    /// The answer is not the keys, whatever it holds: an error, or a redirect, which is not followed.
    #[error("TEXTLEDGER_JWKS_URL: {0} was answered, and not 200 with the keys")]
    Status(StatusCode),
    /// The answer was too large.
    #[error("TEXTLEDGER_JWKS_URL: more than {BYTES_MAX} bytes were answered")]
    TooLarge,
    /// What was answered are no keys.
    #[error("TEXTLEDGER_JWKS_URL {0}")]
    Invalid(#[from] InvalidJwks),
    /// The URL is none.
    #[error("TEXTLEDGER_JWKS_URL must be a URL such as https://id.example.com/.well-known/jwks.json")]
    NoUrl,
}

impl From<reqwest::Error> for FetchError {
    /// The first cause says most; the URL, which may hold a secret, is in none of them.
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::Http(format!("no whole answer came within {} s", FETCH_TIME_MAX.as_secs()));
        }
        let error = error.without_url();
        let mut cause: &dyn std::error::Error = &error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Self::Http(cause.to_string())
    }
}

impl JwksUrl {
    /// Keys that are published at `url`.
    pub fn new(url: &str) -> Result<Self, FetchError> {
        let url = Url::parse(url).map_err(|_| FetchError::NoUrl)?;
        let http = Client::builder().redirect(Policy::none()).timeout(FETCH_TIME_MAX).build()?;
        Ok(Self { http, url, fetches: Mutex::default(), asking: Default::default() })
    }

    async fn fetch(&self) -> Result<PublicKeys, FetchError> {
        Ok(PublicKeys::parse(&self.fetch_text().await?)?)
    }

    /// Every key that is published, those too that sign no tokens here.
    pub async fn fetch_summaries(&self) -> Result<Vec<KeySummary>, FetchError> {
        Ok(PublicKeys::summaries(&self.fetch_text().await?)?)
    }

    async fn fetch_text(&self) -> Result<String, FetchError> {
        let mut answer = self.http.get(self.url.clone()).send().await?;
        if answer.status() != StatusCode::OK {
            return Err(FetchError::Status(answer.status()));
        }
        let mut text = Vec::new();
        while let Some(part) = answer.chunk().await? {
            if text.len() + part.len() > BYTES_MAX {
                return Err(FetchError::TooLarge);
            }
            text.extend_from_slice(&part);
        }
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    /// How long ago the keys were fetched; `None` if they never were.
    fn age(&self) -> Option<Duration> {
        self.fetches(|fetches| fetches.succeeded.map(|at| at.elapsed()))
    }

    fn fetches<T>(&self, change: impl FnOnce(&mut Fetches) -> T) -> T {
        change(&mut self.fetches.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the keys may be fetched because of a key that is not known, which counts as having done so.
    fn may_ask_for_unknown_key(&self, now: Instant) -> bool {
        self.fetches(|fetches| {
            let is_early = |at: Instant| now.duration_since(at) < UNKNOWN_KEY_INTERVAL;
            let may = !fetches.for_unknown_key.is_some_and(is_early);
            if may {
                fetches.for_unknown_key = Some(now);
            }
            may
        })
    }
}

/// Where keys are published, and where they are used.
#[derive(Clone)]
struct Renewal {
    source: Arc<JwksUrl>,
    keys: Arc<ArcSwap<PublicKeys>>,
}

impl Renewal {
    /// Fetches the keys. If that fails, those fetched last stay in use.
    async fn run(&self) {
        let error = match self.source.fetch().await {
            Ok(keys) => {
                self.source.fetches(|fetches| fetches.succeeded = Some(Instant::now()));
                return self.keys.store(keys.into());
            }
            Err(error) => error,
        };
        match self.source.age() {
            Some(age) => tracing::warn!(
                %error, age_s = age.as_secs(),
                mend = "check TEXTLEDGER_JWKS_URL; tokens that are signed with a new key are refused until then",
                "the platform's public keys could not be fetched: those fetched last stay in use"
            ),
            None => tracing::error!(
                %error,
                mend = "check TEXTLEDGER_JWKS_URL; it is asked again every few seconds",
                "the platform's public keys could not be fetched: none of its tokens is taken until they are"
            ),
        }
    }
}

impl Authenticator {
    fn renewal(&self) -> Option<Renewal> {
        self.jwks_url.clone().map(|source| Renewal { source, keys: self.public_keys.clone() })
    }

    /// Fetches the platform's keys, if they are published at a URL. If that fails, those fetched last stay in use.
    pub async fn renew_public_keys(&self) {
        if let Some(renewal) = self.renewal() {
            let _asking = renewal.source.asking.lock().await;
            renewal.run().await;
        }
    }

    /// Fetches the platform's keys every `interval`, if they are published at a URL, and more often as long as there are
    /// none.
    pub async fn follow_public_keys(&self, interval: Duration) {
        while self.jwks_url.is_some() {
            let has_keys = self.public_keys_age().is_some();
            tokio::time::sleep(if has_keys { interval } else { WITHOUT_KEYS_INTERVAL }).await;
            self.renew_public_keys().await;
        }
    }

    /// Fetches the platform's keys because `token` names one that is not known. Returns whether that was done, by this
    /// request or by one that came first: it is not for every such token.
    ///
    /// The fetch runs to its end, also if its caller hangs up: else a stranger could take it away from everybody by that.
    pub(super) async fn renew_for(&self, token: &str) -> bool {
        let Some(renewal) = self.renewal() else { return false };
        let Some(id) = super::token::key_id(token).filter(|id| !self.public_keys.load().has(id)) else {
            return false;
        };
        let asking = renewal.source.asking.clone().lock_owned().await;
        if self.public_keys.load().has(&id) {
            return true;
        }
        if !renewal.source.may_ask_for_unknown_key(Instant::now()) {
            return false;
        }
        let run = async move {
            renewal.run().await;
            drop(asking);
        };
        tokio::spawn(run.in_current_span()).await.is_ok()
    }

    /// How long ago the platform's keys were fetched; `None` if they never were.
    pub fn public_keys_age(&self) -> Option<Duration> {
        self.jwks_url.as_ref()?.age()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::{
        domain::UnixMs,
        http::auth::{TokenRules, jwks::tests::Pair},
    };

    const NOW: UnixMs = UnixMs::new(1_800_000_000_000);

    /// Answers every request with what `answer` holds at the time, and tells its URL.
    async fn publish(answer: Arc<Mutex<String>>) -> String {
        publish_with("200 OK", answer).await
    }

    /// The same with a status, and headers behind it.
    async fn publish_with(status: &str, answer: Arc<Mutex<String>>) -> String {
        let status = status.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = listener.accept().await.unwrap();
                assert_ne!(connection.read(&mut [0; 4096]).await.unwrap(), 0);
                let body = answer.lock().unwrap().clone();
                let head = format!(
                    "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                    body.len()
                );
                // A reader that has had enough closes before everything is written.
                connection.write_all((head + &body).as_bytes()).await.ok();
            }
        });
        url
    }

    #[tokio::test]
    async fn a_new_key_of_the_platform_is_found_and_a_failure_changes_nothing() {
        let (first, second) = (Pair::p256("first"), Pair::p256("second"));
        let set = |pair: &Pair| json!({ "keys": [pair.public] }).to_string();
        let answer = Arc::new(Mutex::new(set(&first)));
        let url = publish(answer.clone()).await;
        let authenticator = authenticator_of(&url);
        let is_good = |token: &str| authenticator.authenticate(token, NOW).is_ok();
        let (old, new) = (first.token(Some("first")), second.token(Some("second")));
        assert!(!is_good(&old) && authenticator.public_keys_age().is_none());
        authenticator.renew_public_keys().await;
        assert!(is_good(&old) && authenticator.public_keys_age().is_some());

        *answer.lock().unwrap() = set(&second);
        assert!(!authenticator.renew_for(&old).await && is_good(&old));
        assert!(authenticator.renew_for(&new).await && is_good(&new) && !is_good(&old));
        // Not again at once, whatever a token names.
        assert!(!authenticator.renew_for(&old).await);

        // The last is a good set, but for its size.
        for broken in ["", "{\"keys\":[]}", &(set(&first) + &" ".repeat(BYTES_MAX))] {
            *answer.lock().unwrap() = broken.to_owned();
            authenticator.renew_public_keys().await;
            assert!(is_good(&new), "{}", broken.len());
        }
    }

    #[tokio::test]
    async fn keys_are_those_of_a_good_answer_at_that_very_url() {
        let pair = Pair::p256("one");
        let set = || Arc::new(Mutex::new(json!({ "keys": [pair.public] }).to_string()));
        let good = publish(set()).await;
        assert!(JwksUrl::new(&good).unwrap().fetch().await.is_ok());
        // Whoever can redirect could name keys of their own.
        let redirect = format!("302 Found\r\nlocation: {good}");
        for status in [redirect.as_str(), "404 Not Found", "500 Internal Server Error"] {
            let url = publish_with(status, set()).await;
            let fetched = JwksUrl::new(&url).unwrap().fetch().await;
            let error = fetched.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.starts_with("TEXTLEDGER_JWKS_URL") && !error.contains(&url), "{status}: {error}");
        }
    }

    fn authenticator_of(url: &str) -> Authenticator {
        let secret = "0123456789abcdef0123456789abcdef".into();
        Authenticator::new(&secret, TokenRules::default(), PublicKeys::default(), Vec::new())
            .with_jwks_url(Some(JwksUrl::new(url).unwrap()))
    }

    #[tokio::test]
    async fn who_hangs_up_takes_the_fetch_away_from_nobody() {
        let pair = Pair::p256("new");
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authenticator = authenticator_of(&format!("http://{}/keys", listener.local_addr().unwrap()));
        let (made_up, new) = (Pair::p256("made up").token(Some("made up")), pair.token(Some("new")));
        let mut connection = tokio::select! {
            _ = authenticator.renew_for(&made_up) => panic!("nothing was answered"),
            connection = listener.accept() => connection.unwrap().0,
        };
        // That request is gone. The next one waits for what it has asked for.
        let answered = async {
            assert_ne!(connection.read(&mut [0; 1024]).await.unwrap(), 0);
            let body = json!({ "keys": [pair.public] }).to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).await.ok();
        };
        let (is_renewed, ()) = tokio::join!(authenticator.renew_for(&new), answered);
        assert!(is_renewed && authenticator.authenticate(&new, NOW).is_ok());
    }

    #[tokio::test]
    async fn a_fetch_that_is_answered_late_does_not_bring_back_the_keys_before() {
        let (old, new) = (Pair::p256("old"), Pair::p256("new"));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authenticator = authenticator_of(&format!("http://{}/keys", listener.local_addr().unwrap()));
        let token = new.token(Some("new"));
        let answered = async {
            for pair in [&old, &new] {
                let (mut connection, _) = listener.accept().await.unwrap();
                assert_ne!(connection.read(&mut [0; 1024]).await.unwrap(), 0);
                // Nobody asks beside it, and is answered first.
                assert!(authenticator.jwks_url.as_ref().unwrap().asking.try_lock().is_err());
                let body = json!({ "keys": [pair.public] }).to_string();
                let head =
                    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
                connection.write_all((head + &body).as_bytes()).await.ok();
            }
        };
        let ((), is_renewed, ()) =
            tokio::join!(authenticator.renew_public_keys(), authenticator.renew_for(&token), answered);
        assert!(is_renewed && authenticator.authenticate(&token, NOW).is_ok());
    }

    #[test]
    fn names_of_keys_that_are_made_up_cause_one_fetch_in_a_while() {
        let (source, now) = (JwksUrl::new("http://127.0.0.1:1/keys").unwrap(), Instant::now());
        let may = |after_s| source.may_ask_for_unknown_key(now + Duration::from_secs(after_s));
        assert_eq!([0, 1, 29, 30, 31].map(may), [true, false, false, true, false]);
    }
}
