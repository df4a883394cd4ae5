//! A year of made-up time, in which everything that is too old goes every day: what is left is compared with a model, and at the end
//! with nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use reqwest::Client;
use serde_json::json;
use textledger::{
    app::App,
    domain::{
        BatchId, EventId, HistoryId, Hold, MessageId, MessageRef, Organization, Outbound, OutboundState,
        Person, Role, Source, StatusChange, Task, UnixMs,
        consent::{Answer, Consent, ConsentChannel, ConsentEntry, ConsentSource, ConsentState},
        event::InboundEntry,
    },
    startup::{self, Service},
    store::{ConsentUpdate, Kind, NewOutbound, Step, Store},
    twilio::{Address, BareAddress, Channel, MessageSid, MessageStatus},
    worker::retention,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    DEADLINE, eventually, leftovers,
    made_up_time::MadeUpTime,
    redis_cluster::RedisCluster,
    redis_server::RedisServer,
    service::{ACCOUNT_SID, AUTH_TOKEN, JWT_SECRET, MASTER_KEY, OUR_NUMBER, answer, token},
};

/// 2026-01-15 06:00 UTC.
const BEGIN: UnixMs = UnixMs::new(1_768_456_800_000);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

const DAYS: u32 = 365;

/// Every so many days all that is left is compared with the model.
const COMPARED_EVERY: u32 = 7;

/// TEXTLEDGER_RETENTION_DAYS, as it is by default.
const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What happens on a day.
const ACTIONS_A_DAY: usize = 8;

/// What Twilio tells of a message, one after the other.
const STATUSES: [&str; 4] = ["queued", "sent", "delivered", "read"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_goes_by_on_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let time = MadeUpTime::begin(BEGIN);
    let place = format!("embedded:{}", folder.path().display());
    let year = Year::begin(&time, &place, "1").await;
    year.go_by().await;
    let left = tables_with_rows(folder.path());
    assert_eq!(
        left,
        BTreeSet::from(
            ["changes", "consent_counts", "consents", "counts", "documents", "queue_sizes", "trimmed"]
                .map(str::to_owned)
        )
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_goes_by_on_redis() {
    let time = MadeUpTime::begin(BEGIN);
    let server = RedisServer::start_in(&time);
    Year::begin(&time, &server.url(), "1").await.go_by().await;
    assert_eq!(kinds_of_keys(&[&server]), KINDS_LEFT.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_year_goes_by_on_a_cluster() {
    let time = MadeUpTime::begin(BEGIN);
    let cluster = RedisCluster::start_in(&time);
    Year::begin(&time, &cluster.url(), "16").await.go_by().await;
    let nodes: Vec<&RedisServer> = cluster.nodes().collect();
    assert_eq!(kinds_of_keys(&nodes), KINDS_LEFT.map(str::to_owned).into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_what_they_have_lost_on_the_embedded_store() {
    let folder = tempfile::tempdir().unwrap();
    let time = MadeUpTime::begin(BEGIN);
    readers_are_told_what_they_have_lost(&time, &format!("embedded:{}", folder.path().display())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_are_told_what_they_have_lost_on_redis() {
    let time = MadeUpTime::begin(BEGIN);
    let server = RedisServer::start_in(&time);
    readers_are_told_what_they_have_lost(&time, &server.url()).await;
}

async fn readers_are_told_what_they_have_lost(time: &MadeUpTime, place: &str) {
    let mut year = Year::begin(time, place, "1").await;
    for pause in [0, 1, 20] {
        time.pass(pause * DAY);
        year.hear_of_another().await;
    }
    time.pass(Duration::from_secs(1));
    let ids: Vec<_> = year.store.events(&year.organization, EventId::START, 9).await.unwrap();
    let ids: Vec<String> = ids.into_iter().map(|(id, _)| id.to_string()).collect();
    time.pass(15 * DAY);
    year.clean().await;
    year.store.close().await;
    drop(year);

    let folder = tempfile::tempdir().unwrap();
    let [data, spool] = ["data", "spool"].map(|name| folder.path().join(name).display().to_string());
    let settings = settings(place, "1").into_iter().chain([
        ("TEXTLEDGER_LISTEN", "127.0.0.1:0"),
        ("TEXTLEDGER_DATA_DIR", &data),
        ("TEXTLEDGER_SPOOL_DIR", &spool),
        ("TEXTLEDGER_JWT_SECRET", JWT_SECRET),
    ]);
    let start = async || Service::start(leftovers::config(settings.clone()), time.clock()).await.ok();
    let service = eventually("the store is free, and the service starts", start).await;
    let url = format!("http://{}/api/sms/events", service.address);
    let ask = |query: &str| Client::new().get(format!("{url}{query}")).bearer_auth(token(Role::Viewer));

    let (status, lost) = answer(ask(&format!("?cursor={}", ids[0]))).await;
    assert_eq!((status, &lost["code"]), (410, &json!("history_lost")), "{lost}");
    for query in [format!("?cursor={}", ids[1]), String::new()] {
        let (status, page) = answer(ask(&query)).await;
        assert_eq!((status, &page["events"][0]["event_id"]), (200, &json!(ids[2])), "{query} {page}");
    }
    let live = async |request: reqwest::RequestBuilder| {
        let mut told = request.header("Accept", "text/event-stream").send().await.unwrap();
        let mut text = String::new();
        while !text.contains(&format!("id: {}", ids[2])) {
            let some = tokio::time::timeout(DEADLINE, told.chunk()).await.expect("the stream goes on");
            text.push_str(&String::from_utf8_lossy(&some.unwrap().unwrap()));
        }
        text
    };
    let resumed = live(ask("").header("Last-Event-ID", &ids[0])).await;
    let data = json!({ "after": ids[0], "type": "history-lost", "until": ids[1] });
    assert!(
        resumed.starts_with(&format!("event: history-lost\ndata: {data}\n\nevent: delivery\n")),
        "{resumed}"
    );
    for request in [ask("").header("Last-Event-ID", &ids[1]), ask("?from=start")] {
        let told = live(request).await;
        assert!(told.starts_with("event: delivery\n"), "{told}");
    }
    service.stop().await.unwrap();
}

/// A message that waits for longer than batches are kept leaves with its text all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_keeps_its_batch() {
    let time = MadeUpTime::begin(BEGIN);
    let server = RedisServer::start_in(&time);
    let folder = tempfile::tempdir().unwrap();
    let places = [format!("embedded:{}", folder.path().display()), server.url()];
    for place in &places {
        let mut year = Year::begin(&time, place, "1").await;
        let batch = BatchId::new(7);
        let stored =
            json!({ "total": 1, "created_at": 1, "canceled_at": null, "opted_out": [], "content": "sealed" });
        let (stored, keep) = (stored.to_string(), Some(RETENTION + 7 * DAY));
        let members = format!("{batch}.0");
        for (kind, name, text) in [(Kind::Batch, batch.as_str(), &stored), (Kind::Members, &members, &stored)]
        {
            year.store.change_document(&year.organization, kind, name, None, Some(text), keep).await.unwrap();
        }
        let is_kept = async |year: &Year<'_>| {
            let batch = year.store.document(&year.organization, Kind::Batch, batch.as_str()).await.unwrap();
            let members = year.store.document(&year.organization, Kind::Members, &members).await.unwrap();
            assert_eq!(batch.is_some(), members.is_some());
            batch.is_some()
        };
        let waiting = year.waiting(0, Some(batch.clone())).await;
        for _ in 0..20 {
            time.pass(5 * DAY);
            year.clean().await;
            assert!(is_kept(&year).await, "{place}");
        }
        year.cancel(waiting).await;
        for _ in 0..20 {
            time.pass(5 * DAY);
            year.clean().await;
        }
        assert!(!is_kept(&year).await, "{place}");
        assert!(year.history(None).await.is_empty());
        year.store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organization_without_an_account_keeps_nothing_longer() {
    let time = MadeUpTime::begin(BEGIN);
    let server = RedisServer::start_in(&time);
    let folder = tempfile::tempdir().unwrap();
    for place in [format!("embedded:{}", folder.path().display()), server.url()] {
        let mut year = Year::begin(&time, &place, "1").await;
        year.app.recognizer.look().await.unwrap();
        year.organization = Organization::parse("elsewhere").unwrap();
        while year.changes.is_empty() {
            year.reply().await;
        }
        time.pass(RETENTION - DAY);
        retention::look_through_all(&year.app, &CancellationToken::new()).await;
        year.compare(29).await;
        time.pass(2 * DAY);
        retention::look_through_all(&year.app, &CancellationToken::new()).await;
        year.compare(31).await;
        assert!(year.events.is_empty());
        year.store.close().await;
    }
}

/// What is left in Redis: consent, the statistics by the hour, and of the streams their names.
const KINDS_LEFT: [&str; 8] =
    ["changes", "consent", "count", "doc", "known", "partitions", "persons", "trimmed"];

/// The tables of the file in `folder` that have rows.
fn tables_with_rows(folder: &std::path::Path) -> BTreeSet<String> {
    use redb::{ReadableDatabase, ReadableTableMetadata, TableHandle};
    let file = folder.join(textledger::store::embedded::FILE_NAME);
    let database = redb::Database::open(file).unwrap();
    let transaction = database.begin_read().unwrap();
    let tables = transaction.list_tables().unwrap();
    let has_rows = |table: &redb::UntypedTableHandle| {
        !transaction.open_untyped_table(table.clone()).unwrap().is_empty().unwrap()
    };
    tables.filter(has_rows).map(|table| table.name().to_owned()).collect()
}

/// What the keys on `nodes` are of, by the word behind the partition; streams without entries are left out.
fn kinds_of_keys(nodes: &[&RedisServer]) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    for node in nodes {
        let mut connection = redis::Client::open(node.url()).unwrap().get_connection().unwrap();
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut connection).unwrap();
        for key in keys {
            let kind: String = redis::cmd("TYPE").arg(&key).query(&mut connection).unwrap();
            let is_empty =
                kind == "stream" && redis::cmd("XLEN").arg(&key).query::<u64>(&mut connection).unwrap() == 0;
            let rest = key.split_once("}:").map_or_else(|| key.trim_start_matches("tl:"), |(_, rest)| rest);
            if !is_empty {
                kinds.insert(rest.split(':').next().unwrap_or_default().to_owned());
            }
        }
    }
    kinds
}

/// A message as the model knows it.
#[derive(Debug, Clone)]
struct Known {
    name: MessageRef,
    person: usize,
    sid: MessageSid,
    entered: UnixMs,
    /// When it came to its end on our side; one that was sent elsewhere has.
    resolved: Option<UnixMs>,
    /// Whether Twilio has it.
    is_accepted: bool,
    /// When its statuses were recorded.
    heard: Vec<UnixMs>,
    /// Whether Twilio is going to be asked for it.
    asked_since: Option<UnixMs>,
}

impl Known {
    /// Whether a run at `now` takes it away.
    fn goes(&self, now: UnixMs) -> bool {
        let is_old = |at: UnixMs| at < now - RETENTION;
        is_old(self.entered)
            && self.resolved.is_some_and(is_old)
            && self.heard.iter().copied().all(is_old)
            && self.asked_since.is_none()
    }
}

struct Year<'a> {
    time: &'a MadeUpTime,
    app: App,
    store: Arc<dyn Store>,
    organization: Organization,
    draws: StdRng,
    made: u64,
    messages: Vec<Known>,
    /// When each event was, by its type.
    events: BTreeMap<&'static str, Vec<UnixMs>>,
    /// How many changes of consent each person's list has.
    changes: BTreeMap<usize, usize>,
}

fn person(number: usize) -> BareAddress {
    format!("+1415555{number:04}").parse().unwrap()
}

fn settings<'a>(place: &'a str, partitions: &'a str) -> [(&'a str, &'a str); 6] {
    [
        ("TEXTLEDGER_STORE", place),
        ("TEXTLEDGER_PARTITIONS", partitions),
        ("TEXTLEDGER_MASTER_KEY", MASTER_KEY),
        ("TWILIO_ACCOUNT_SID", ACCOUNT_SID),
        ("TWILIO_AUTH_TOKEN", AUTH_TOKEN),
        ("TWILIO_PHONE_NUMBER", OUR_NUMBER),
    ]
}

impl<'a> Year<'a> {
    async fn begin(time: &'a MadeUpTime, place: &str, partitions: &str) -> Self {
        let config = leftovers::config(settings(place, partitions));
        let store = startup::open_store(&config, time.clock()).await.unwrap();
        let app = startup::assemble(&config, "http://localhost", store.clone(), None, time.clock()).unwrap();
        Self {
            time,
            app,
            store,
            organization: Organization::default(),
            draws: StdRng::seed_from_u64(30),
            made: 0,
            messages: Vec::new(),
            events: BTreeMap::new(),
            changes: BTreeMap::new(),
        }
    }

    async fn go_by(mut self) {
        for day in 0..DAYS {
            for _ in 0..ACTIONS_A_DAY {
                let pause_ms =
                    self.draws.random_range(1_000..2 * DAY.as_millis() as u64 / ACTIONS_A_DAY as u64);
                self.time.pass(Duration::from_millis(pause_ms));
                self.act().await;
            }
            self.time.pass(Duration::from_secs(1));
            self.clean().await;
            if day % COMPARED_EVERY == 0 {
                self.compare(day).await;
            }
        }
        self.end().await;
    }

    fn sid(&mut self) -> MessageSid {
        self.made += 1;
        // Far apart, as Twilio's are.
        MessageSid::parse(&format!("SM{:032x}", u128::from(self.made) * 0x9e37_79b9_7f4a_7c15)).unwrap()
    }

    async fn act(&mut self) {
        match self.draws.random_range(0..10) {
            0..3 => self.send().await,
            3 => self.hear_of_another().await,
            4..8 => self.hear().await,
            _ => self.reply().await,
        }
    }

    fn note(&mut self, kind: &'static str) {
        self.events.entry(kind).or_default().push(self.time.now());
    }

    async fn send(&mut self) {
        let (to, is_held) = (self.draws.random_range(0..9), self.draws.random_range(0..4) == 0);
        let index = self.waiting(to, None).await;
        if !is_held {
            self.step(index, |at, sid| OutboundState::Accepted { at, message_sid: sid }).await;
        }
    }

    /// A message that waits; where the model has it.
    async fn waiting(&mut self, to: usize, batch: Option<BatchId>) -> usize {
        let (sid, now, person) = (self.sid(), self.time.now(), person(to));
        let outbound = Outbound {
            id: MessageId::new(self.store.partition(&Person::of(&person)), self.made.into()),
            to: Address::parse(person.as_str()).unwrap(),
            from: Some(Address::parse(OUR_NUMBER).unwrap()),
            messaging_service_sid: None,
            body_length: 5,
            segments: 1,
            media: 0,
            category: None,
            user_id: None,
            batch,
            status_callback: None,
            fallback: None,
            actor: None,
            created_at: now,
        };
        self.messages.push(Known {
            name: MessageRef::Id(outbound.id),
            person: to,
            sid,
            entered: now,
            resolved: None,
            is_accepted: false,
            heard: Vec::new(),
            asked_since: None,
        });
        let state = OutboundState::Waiting { until: now, reason: Hold::Turn, tries: 0, suspicion: None };
        let new = NewOutbound { outbound, state, content: None, bytes: 0, due: now, entry: None };
        self.store.create_outbound(&self.organization, &new, None).await.unwrap();
        self.messages.len() - 1
    }

    /// Takes a message that waits to its end on our side.
    async fn step(&mut self, index: usize, to: impl FnOnce(UnixMs, MessageSid) -> OutboundState) {
        let (known, now) = (&mut self.messages[index], self.time.now());
        let MessageRef::Id(id) = known.name else { unreachable!("it was sent through us") };
        let stored =
            self.store.outbound(&self.organization, &id).await.unwrap().expect("one that waits stays");
        let to = to(now, known.sid.clone());
        (known.resolved, known.is_accepted) = (Some(now), matches!(to, OutboundState::Accepted { .. }));
        let step = Step { from: stored.state, to, due: None, gate: None, entry: None };
        self.store.step_outbound(&self.organization, &stored.outbound, &step).await.unwrap();
    }

    async fn cancel(&mut self, index: usize) {
        self.step(index, |at, _| OutboundState::Canceled { at }).await;
    }

    /// Something is heard of a message that was sent elsewhere.
    async fn hear_of_another(&mut self) {
        let (sid, now, to) = (self.sid(), self.time.now(), self.draws.random_range(0..9));
        let is_asked = self.draws.random_range(0..3) == 0;
        self.messages.push(Known {
            name: MessageRef::Sid(sid.clone()),
            person: to,
            sid,
            entered: now,
            resolved: Some(now),
            is_accepted: true,
            heard: Vec::new(),
            asked_since: is_asked.then_some(now),
        });
        self.record(self.messages.len() - 1, "queued").await;
    }

    /// Something more happens to a message: it leaves or is refused, or Twilio tells of it, sooner or later.
    async fn hear(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let index = self.draws.random_range(self.messages.len().saturating_sub(60)..self.messages.len());
        let known = self.messages[index].clone();
        match (&known.name, known.asked_since, known.resolved) {
            (MessageRef::Id(_), _, None) if self.draws.random_range(0..3) == 0 => self.cancel(index).await,
            (MessageRef::Id(_), _, None) => {
                self.step(index, |at, sid| OutboundState::Accepted { at, message_sid: sid }).await;
            }
            (MessageRef::Sid(_), Some(since), _) => {
                self.messages[index].asked_since = None;
                let ask = Task::Ask { sid: known.sid, since };
                self.store.reschedule(&self.organization, &ask, None).await.unwrap();
            }
            _ if known.is_accepted => self.tell(index).await,
            _ => {}
        }
    }

    async fn tell(&mut self, index: usize) {
        if let Some(status) = STATUSES.get(self.messages[index].heard.len()) {
            self.record(index, status).await;
        }
    }

    async fn record(&mut self, index: usize, status: &str) {
        let known = &self.messages[index];
        let id = match known.name {
            MessageRef::Id(id) => Some(id),
            MessageRef::Sid(_) => None,
        };
        let change = StatusChange {
            sid: known.sid.clone(),
            id,
            status: MessageStatus::parse(status),
            error_code: None,
            channel: Channel::Sms,
            to: Some(person(known.person)),
            from: None,
            batch: None,
            source: Source::Callback,
            at: self.time.now(),
            ask_at: known.asked_since.map(|since| since + 1_000 * DAY),
            raw: vec![("Extra".to_owned(), "x".to_owned())],
            relay: None,
            posted: None,
        };
        self.store.record_status(&self.organization, change).await.unwrap();
        self.messages[index].heard.push(self.time.now());
        self.note("delivery");
    }

    /// A person writes, and means it now and then.
    async fn reply(&mut self) {
        let (sid, now, number) = (self.sid(), self.time.now(), self.draws.random_range(0..9));
        let who = Person::of(&person(number));
        let entry = InboundEntry {
            sid: sid.clone(),
            channel: Channel::Sms,
            from: person(number),
            to: OUR_NUMBER.parse().unwrap(),
            body_length: 4,
            keyword: None,
            media: 0,
            at: now,
        };
        let known = self.store.consent(&self.organization, &who).await.unwrap();
        let state = if self.draws.random() { ConsentState::OptedOut } else { ConsentState::OptedIn };
        let update = (self.draws.random_range(0..3) == 0).then(|| {
            let mut consent = Consent::default();
            consent.sms.state = state;
            let entry = ConsentEntry {
                phone: person(number),
                channel: ConsentChannel::Sms,
                state,
                source: ConsentSource::Keyword,
                sid: Some(sid),
                at: now,
            };
            ConsentUpdate {
                expected: known.version,
                consent,
                entry,
                evidence: None,
                actor: None,
                audit_entry: None,
            }
        });
        let changes = update.is_some();
        self.store.record_inbound(&self.organization, entry, &who, update, Answer::Nothing).await.unwrap();
        self.note("inbound");
        if changes {
            *self.changes.entry(number).or_default() += 1;
            self.note("consent");
        }
    }

    /// Takes away what is too old, as the service does it.
    async fn clean(&mut self) {
        let retention = self.app.retention.of(&self.organization);
        let told = retention.would_remove().await.unwrap();
        let mut run = self.app.retention.begin();
        while !run.is_done() {
            retention.step(&mut run).await.unwrap();
        }
        let removed = run.removed();
        assert_eq!(
            (told.deliveries, told.inbound, told.consents),
            (removed.deliveries, removed.inbound, removed.consents)
        );
    }

    async fn compare(&mut self, day: u32) {
        let now = self.time.now();
        self.messages.retain(|known| !known.goes(now));
        for times in self.events.values_mut() {
            times.retain(|at| *at >= now - RETENTION);
        }
        // What was added in this millisecond may not be told of yet.
        self.time.pass(Duration::from_secs(1));
        let mut found = BTreeMap::<&str, Vec<UnixMs>>::new();
        let mut after = EventId::START;
        loop {
            let page = self.store.events(&self.organization, after, 1_000).await.unwrap();
            let Some((last, _)) = page.last() else { break };
            after = *last;
            for (id, event) in page {
                found.entry(event.unwrap().kind()).or_default().push(id.ms);
            }
        }
        self.events.retain(|_, times| !times.is_empty());
        assert_eq!(found, self.events, "events on day {day}");

        let names = |person: Option<usize>| -> BTreeSet<String> {
            let theirs =
                self.messages.iter().filter(|known| person.is_none_or(|person| known.person == person));
            theirs.map(|known| known.name.to_string()).collect()
        };
        assert_eq!(self.history(None).await, names(None), "messages on day {day}");
        for number in 0..9 {
            assert_eq!(
                self.history(Some(number)).await,
                names(Some(number)),
                "those to {number} on day {day}"
            );
            let changes = self
                .store
                .consent_changes(&self.organization, &Person::of(&person(number)), 0, 500)
                .await
                .unwrap();
            assert_eq!(changes.len(), self.changes.get(&number).copied().unwrap_or_default(), "day {day}");
        }
        for known in &self.messages {
            if let MessageRef::Id(id) = &known.name {
                assert!(self.store.outbound(&self.organization, id).await.unwrap().is_some(), "{known:?}");
            }
            let message = self.store.message(&self.organization, &known.sid).await.unwrap();
            let younger = known.heard.iter().filter(|at| **at >= now - RETENTION).count();
            let entries = message.as_ref().map_or(0, |message| message.entries.len());
            assert_eq!(entries, younger, "{known:?} on day {day}");
            assert_eq!(
                message.is_some(),
                younger > 0 || known.asked_since.is_some(),
                "{known:?} on day {day}"
            );
        }
    }

    async fn history(&self, number: Option<usize>) -> BTreeSet<String> {
        let who = number.map(|number| Person::of(&person(number)));
        let (mut names, mut before) = (BTreeSet::new(), HistoryId::END);
        loop {
            let page = self.store.history(&self.organization, who.as_ref(), before, 500).await.unwrap();
            let Some((last, _)) = page.last() else { return names };
            before = *last;
            names.extend(page.into_iter().map(|(_, name)| name.to_string()));
        }
    }

    /// Everything comes to its end, and nothing happens any more.
    async fn end(mut self) {
        for index in 0..self.messages.len() {
            let known = self.messages[index].clone();
            if let Some(since) = known.asked_since {
                let ask = Task::Ask { sid: known.sid, since };
                self.store.reschedule(&self.organization, &ask, None).await.unwrap();
            }
            if known.resolved.is_none() {
                self.cancel(index).await;
            }
        }
        self.time.pass(RETENTION + DAY);
        self.clean().await;
        assert!(self.history(None).await.is_empty());
        self.store.close().await;
    }
}
