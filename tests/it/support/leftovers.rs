//! What a story leaves undone. At its end there has to be nothing but what it names: no message between two states, no
//! task, no webhook in the spool or waiting for its turn, no time of a sender's that is kept for nobody.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use textledger::{
    clock::{Clock, SystemClock},
    config::{Config, setting},
    domain::{
        HistoryId, MessageId, MessageRef, Organization, Outbound, OutboundState, Person, Role, Sender, Task,
        TaskLine, UnixMs,
    },
    startup,
    store::{NewOutbound, Store, outbox::OUTBOUNDS_MAX},
    twilio::Address,
};

use super::{
    DEADLINE, eventually, eventually_ok,
    flows::{self, due_flows},
    service::{OUR_NUMBER, PERSON, answer, token},
};

/// Later than everything that is planned: the end of the year 9999.
const FAR: UnixMs = UnixMs::new(253_402_300_799_000);

/// Enough to tell two points in time apart.
const LITTLE: Duration = Duration::from_millis(1);

/// How far ahead a sender's time may be given away to messages that have left: the dispatcher takes a second's worth at
/// once, and the last of these may begin at its end.
const TURN: Duration = Duration::from_secs(3);

/// How a story is ended: by [`Ending::settled`], the service's stop, and [`Ending::reached`]. One that is not fails.
pub struct Ending {
    config: Config,
    clock: Arc<dyn Clock>,
    is_reached: bool,
}

impl Ending {
    /// The ending of a story whose service goes by `clock` and is given these settings.
    pub fn of<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>, clock: Arc<dyn Clock>) -> Self {
        Self { config: config(settings), clock, is_reached: false }
    }

    /// The settings that the service is given.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Waits until the service at `url` has nothing left to be done, by all that it shows, but for the messages `left`.
    pub async fn settled(&self, url: &str, left: &[&str]) {
        let expected = named(left);
        eventually_ok(DEADLINE, "nothing is left to be done", async || {
            let (ready, readiness) = answer(Client::new().get(format!("{url}/readyz?for=sends"))).await;
            let (waiting, unfinished) = (waiting_webhooks(url).await, unfinished(url).await);
            let is_settled = ready == 200 && waiting == "0" && unfinished == expected;
            is_settled.then_some(()).ok_or_else(|| {
                format!("{readiness}, {waiting} webhooks wait, open are {unfinished:?}, and not {expected:?}")
            })
        })
        .await;
    }

    /// Looks into the store of the service, which has been stopped: nothing may be left there but the messages `left`.
    pub async fn reached(&mut self, left: &[&str]) {
        self.is_reached = true;
        let open = async || startup::open_store(&self.config, self.clock.clone()).await.ok();
        let store = eventually("the store is free", open).await;
        assert_eq!(in_store(&*store, self.clock.now_ms()).await, named(left), "is left in the store");
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        // A story that has failed says so itself.
        assert!(self.is_reached || std::thread::panicking(), "the story does not end by finish");
    }
}

/// The configuration that these settings make; of one that is given twice, the last counts.
pub fn config<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> Config {
    let settings = settings.into_iter().map(|(name, value)| {
        let name = setting::named(name).expect("the setting exists").name;
        (name, value.to_owned())
    });
    Config::read(settings.collect::<BTreeMap<_, _>>(), "").unwrap()
}

fn named(left: &[&str]) -> BTreeSet<String> {
    left.iter().map(|left| (*left).to_owned()).collect()
}

/// How many webhooks wait for a permit, as `/metrics` tells.
async fn waiting_webhooks(url: &str) -> String {
    let answer = Client::new().get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
    let waiting = answer.lines().find_map(|line| line.strip_prefix("textledger_waiting "));
    waiting.expect("the gauge exists").to_owned()
}

/// Messages of which something more is to be expected, by our id, or by Twilio's if they are not ours.
async fn unfinished(url: &str) -> BTreeSet<String> {
    let (mut unfinished, mut cursor) = (BTreeSet::new(), String::new());
    loop {
        let page = Client::new().get(format!("{url}/api/sms/messages?limit=500{cursor}"));
        let (status, page) = answer(page.bearer_auth(token(Role::Viewer))).await;
        assert_eq!(status, 200, "{page}");
        let messages = page["messages"].as_array().unwrap().iter();
        let names = messages.filter(|message| message["final"] == false).map(|message| {
            let name = [&message["id"], &message["message_sid"]].into_iter().find_map(Value::as_str);
            name.expect("a message has a name").to_owned()
        });
        unfinished.extend(names);
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return unfinished,
        }
    }
}

/// Everything in `store` that somebody would still have to do at `now` or later. Looking takes it out of its queues, so
/// nobody else may use the store any more.
pub async fn in_store(store: &dyn Store, now: UnixMs) -> BTreeSet<String> {
    let organization = Organization::default();
    let (mut left, mut senders) = (BTreeSet::new(), BTreeSet::new());
    for line in TaskLine::ALL {
        let claimed = store.claim(&organization, line, FAR, FAR + LITTLE, OUTBOUNDS_MAX).await.unwrap();
        // The listing is the net below everything else, and is always planned.
        let tasks = claimed.into_iter().map(|(task, _)| task.unwrap()).filter(|task| *task != Task::List);
        left.extend(tasks.map(|task| format!("the task {task}")));
    }
    let mut before = HistoryId::END;
    loop {
        let page = store.history(&organization, None, before, OUTBOUNDS_MAX).await.unwrap();
        let Some((last, _)) = page.last() else { break };
        before = *last;
        let ids: Vec<_> = page
            .iter()
            .filter_map(|(_, message)| match message {
                MessageRef::Id(id) => Some(*id),
                MessageRef::Sid(_) => None,
            })
            .collect();
        for stored in store.outbounds(&organization, &ids).await.unwrap().into_iter().flatten() {
            senders.extend(stored.outbound.flow().sender);
            if !stored.state.is_resolved() {
                left.insert(stored.outbound.id.to_string());
            } else if stored.content.is_some() {
                left.insert(format!("the content of {}", stored.outbound.id));
            }
        }
    }
    for flow in due_flows(store, &organization, FAR).await {
        loop {
            let claimed = flows::claim(store, &organization, &flow, FAR, FAR + LITTLE, OUTBOUNDS_MAX).await;
            if claimed.is_empty() {
                break;
            }
            // One that a callback has resolved is taken out when it is looked at next. All others were found above.
            let stored = store.outbounds(&organization, &claimed).await.unwrap();
            let nameless = claimed.iter().zip(stored).filter(|(_, stored)| stored.is_none());
            left.extend(nameless.map(|(id, _)| format!("{id} in the queue, of which nothing is stored")));
        }
        senders.extend(flow.sender);
    }
    for sender in senders {
        let soon = now + TURN;
        let free_at = store.reserve_pace(&organization, &sender, soon, Duration::ZERO).await.unwrap();
        if free_at > soon {
            left.insert(format!("time of {} until {free_at}", sender.to_twilio()));
        }
    }
    left
}

#[tokio::test]
async fn what_is_left_in_a_store_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let place = format!("embedded:{}", folder.path().display());
    let clock = Arc::new(SystemClock);
    let store = startup::open_store(&config([("TEXTLEDGER_STORE", place.as_str())]), clock).await.unwrap();
    let (organization, now) = (Organization::default(), UnixMs::new(1_000));
    store.schedule(&organization, &Task::List, now).await.unwrap();
    assert_eq!(in_store(&*store, now).await, named(&[]));

    let relay = Task::Relay { name: "0a1b".to_owned() };
    store.schedule(&organization, &relay, FAR - LITTLE).await.unwrap();
    let to = Address::parse(PERSON).unwrap();
    let sender = Sender::Address(Address::parse(OUR_NUMBER).unwrap());
    let outbound = Outbound {
        id: MessageId::new(store.partition(&Person::of(to.bare())), 1),
        to,
        from: Some(Address::parse(OUR_NUMBER).unwrap()),
        messaging_service_sid: None,
        body_length: 5,
        segments: 1,
        media: 0,
        category: None,
        user_id: None,
        batch: None,
        status_callback: None,
        fallback: None,
        actor: None,
        created_at: now,
    };
    let id = outbound.id;
    let state = OutboundState::Unknown { since: now, tries: 1, searches: 0 };
    let lost = NewOutbound {
        outbound,
        state,
        content: Some("sealed".to_owned()),
        bytes: 6,
        due: FAR - LITTLE,
        entry: None,
    };
    store.create_outbound(&organization, &lost, None).await.unwrap();
    store.reserve_pace(&organization, &sender, now, Duration::from_secs(60)).await.unwrap();
    let time = format!("time of {} until {}", sender.to_twilio(), now + Duration::from_secs(60));
    assert_eq!(in_store(&*store, now).await, named(&["the task relay:0a1b", id.as_str(), &time]));
}

#[test]
#[should_panic(expected = "the story does not end by finish")]
fn a_story_that_is_not_ended_fails() {
    drop(Ending::of([], Arc::new(SystemClock)));
}
