//! Which server is the master, by the word of Redis's sentinels.
//!
//! Every sentinel that is named is asked, all at once, and the answer of the latest configuration counts: one that was away
//! meanwhile calls a former master the master for some time after it is back. While one of them is about to promote another
//! server there is no master for us: the former takes writes still, and loses them.
//!
//! What was heard is kept for a moment, shared by all threads, and heard anew beside the requests. If no sentinel answers,
//! nobody can promote another server either, as far as can be known from here: connections stay, and no new ones are made.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value,
};
use tokio::time::{Instant, timeout_at};

use crate::redis_address::Endpoint;

/// How long sentinels may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_millis(500);

/// How long the others may take once one has answered.
const OTHERS_TIME_MAX: Duration = Duration::from_millis(200);

/// After how long what was heard is heard anew, beside the requests.
const HEARD_ANEW: Duration = Duration::from_millis(250);

/// How long it counts. A request waits for an answer that is younger.
const HEARD_KEPT: Duration = Duration::from_secs(1);

/// The states of a failover in which the server that is to be promoted is known to be promoted: the sentinels name it.
const PROMOTED: [&str; 2] = ["reconf_slaves", "update_config"];

/// The sentinels of a master.
pub(super) struct Sentinels {
    clients: Vec<Client>,
    name: String,
    heard: Mutex<Option<Heard>>,
    /// They are asked by one at a time.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Clone)]
struct Heard {
    asked_at: Instant,
    word: Word,
}

/// What they say.
#[derive(Clone)]
pub(super) enum Word {
    /// This server is the master.
    Master(Endpoint),
    /// Another server is being promoted.
    Promoting,
    /// None answers, or knows the name.
    Silence(RedisError),
}

/// What one of them says.
struct Answer {
    master: Endpoint,
    epoch: u64,
    is_promoting: bool,
}

impl Sentinels {
    /// Those at `clients`, for the master that they call `name`.
    pub(super) fn new(clients: Vec<Client>, name: &str) -> Self {
        Self { clients, name: name.to_owned(), heard: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The master, as it is said now.
    pub(super) async fn master(&self) -> RedisResult<Endpoint> {
        match self.heard_since(Instant::now()).await {
            Word::Master(master) => Ok(master),
            Word::Promoting => Err(no_master("a failover is under way")),
            Word::Silence(error) => Err(error),
        }
    }

    /// Whether `server` may be asked: it was called the master a moment ago.
    pub(super) async fn follow(self: &Arc<Self>, server: &Endpoint) -> bool {
        let now = Instant::now();
        if self.known_since(now - HEARD_ANEW).is_none() && self.turn.try_lock().is_ok() {
            let sentinels = self.clone();
            tokio::spawn(async move { sentinels.heard_since(now - HEARD_ANEW).await });
        }
        self.calls_master(server, now - HEARD_KEPT).await
    }

    /// Whether `server` is called the master at `since` or later.
    pub(super) async fn calls_master(&self, server: &Endpoint, since: Instant) -> bool {
        match self.heard_since(since).await {
            Word::Master(master) => master == *server,
            Word::Promoting => false,
            Word::Silence(_) => true,
        }
    }

    async fn heard_since(&self, since: Instant) -> Word {
        if let Some(word) = self.known_since(since) {
            return word;
        }
        let _turn = self.turn.lock().await;
        // Somebody else may have asked meanwhile.
        if let Some(word) = self.known_since(since) {
            return word;
        }
        let asked_at = Instant::now();
        let word = self.ask().await;
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Heard { asked_at, word: word.clone() });
        word
    }

    fn known_since(&self, since: Instant) -> Option<Word> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().filter(|heard| heard.asked_at >= since).map(|heard| heard.word.clone())
    }

    async fn ask(&self) -> Word {
        let mut end = Instant::now() + ANSWER_TIME_MAX;
        let mut asked: FuturesUnordered<_> = self.clients.iter().map(|client| self.ask_one(client)).collect();
        let (mut answers, mut failures) = (Vec::<Answer>::new(), Vec::<RedisError>::new());
        while let Ok(Some(answer)) = timeout_at(end, asked.next()).await {
            match answer {
                Ok(answer) => {
                    end = end.min(Instant::now() + OTHERS_TIME_MAX);
                    answers.push(answer);
                }
                Err(error) => failures.push(error),
            }
        }
        word(answers, failures)
    }

    async fn ask_one(&self, client: &Client) -> RedisResult<Answer> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME_MAX))
            .set_response_timeout(Some(ANSWER_TIME_MAX));
        let mut connection =
            client.get_multiplexed_async_connection_with_config(&config).await.map_err(refusal)?;
        let mut pipeline = Pipeline::with_capacity(2);
        // Once the other server is promoted only the first names it, and only the second tells of the time before.
        pipeline.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        pipeline.cmd("SENTINEL").arg("MASTER").arg(&self.name);
        let mut answers = connection.send_packed_commands(&pipeline, 0, 2).await?.into_iter();
        let (place, state) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
        let place: Option<(String, u16)> = redis::from_redis_value(place.extract_error().map_err(refusal)?)?;
        let Some((host, port)) = place else {
            let unknown = "the sentinels know no master of the name behind them in TEXTLEDGER_STORE";
            return Err((ErrorKind::MasterNameNotFoundBySentinel, unknown).into());
        };
        let state: HashMap<String, String> = redis::from_redis_value(state.extract_error()?)?;
        let is_promoting =
            state.get("failover-state").is_some_and(|state| !PROMOTED.contains(&state.as_str()));
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or_default();
        Ok(Answer { master: Endpoint { host, port }, epoch, is_promoting })
    }
}

/// What counts of several answers.
fn word(answers: Vec<Answer>, failures: Vec<RedisError>) -> Word {
    let Some(epoch) = answers.iter().map(|answer| answer.epoch).max() else {
        // What a sentinel refuses says more than that another is away.
        let said = failures.into_iter().min_by_key(|failure| failure.kind() == ErrorKind::Io);
        return Word::Silence(match said {
            Some(error) if error.kind() != ErrorKind::Io => error,
            Some(error) => (ErrorKind::Io, "no sentinel answers", error.to_string()).into(),
            None => (ErrorKind::Io, "no sentinel answers in time").into(),
        });
    };
    let mut latest = answers.into_iter().filter(|answer| answer.epoch == epoch).peekable();
    let master = latest.peek().map(|answer| answer.master.clone());
    match master.filter(|_| latest.all(|answer| !answer.is_promoting)) {
        Some(master) => Word::Master(master),
        None => Word::Promoting,
    }
}

/// What a sentinel that refuses us says: it has users of its own.
fn refusal(error: RedisError) -> RedisError {
    match error.kind() == ErrorKind::AuthenticationFailed || error.code() == Some("NOAUTH") {
        true => (
            ErrorKind::AuthenticationFailed,
            "a sentinel wants a user and a password of its own: give sentinel_user and sentinel_password behind the ? in \
             TEXTLEDGER_STORE",
        )
            .into(),
        false => error,
    }
}

/// There is no master just now, for a reason that is told.
pub(super) fn no_master(reason: &'static str) -> RedisError {
    (ErrorKind::Server(ServerErrorKind::MasterDown), reason).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(host: &str, epoch: u64, is_promoting: bool) -> Answer {
        Answer { master: Endpoint { host: host.to_owned(), port: 1 }, epoch, is_promoting }
    }

    fn said(answers: Vec<Answer>) -> String {
        match word(answers, Vec::new()) {
            Word::Master(master) => master.host,
            Word::Promoting => "promoting".to_owned(),
            Word::Silence(error) => error.to_string(),
        }
    }

    #[test]
    fn the_latest_configuration_counts_and_none_while_another_server_is_promoted() {
        assert_eq!(said(vec![answer("a", 1, false), answer("a", 1, false)]), "a");
        assert_eq!(said(vec![answer("a", 1, false), answer("b", 2, false), answer("a", 1, false)]), "b");
        assert_eq!(said(vec![answer("a", 1, false), answer("a", 1, true)]), "promoting");
        assert_eq!(said(vec![answer("a", 1, true), answer("b", 2, false)]), "b");
        assert!(said(Vec::new()).starts_with("no sentinel answers"));
    }

    #[test]
    fn a_refusal_of_one_sentinel_is_told_before_that_others_are_away() {
        let away = || RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let refused = || RedisError::from((ErrorKind::AuthenticationFailed, "no"));
        let Word::Silence(error) = word(Vec::new(), vec![away(), refused(), away()]) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::AuthenticationFailed);
        let Word::Silence(error) = word(Vec::new(), vec![away()]) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::Io);
    }
}
