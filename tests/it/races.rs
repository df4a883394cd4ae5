//! Thousands of sends race with people's words, with what others record of them, with doubtful replies and decisions on
//! them, and with attempts to take words back: none that begins after a no leaves, none that begins after a yes is refused,
//! and none leaves while a reply is under review.
//!
//! Everything goes over WhatsApp, where Twilio keeps no block of its own that would hide a mistake of ours. It goes on in
//! rounds. Within a round all calls run at once, in an order that chance decides, over all instances; each notes when it
//! began and ended. In most rounds a person's consent changes once at most, so that it is known for every call that does
//! not overlap with the change; where nothing changes, Twilio's own count of what it accepted is exact.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};
use reqwest::Method;
use serde_json::{Value, json};
use textledger::domain::Role;
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    api::on_both_stores,
    support::{
        eventually,
        service::{ACCOUNT_SID, On, SENDER_KEY, TestService, answer, api_keys, reply, token},
        twilio::World,
    },
};

on_both_stores! {
    no_send_is_accepted_after_a_no_and_none_refused_after_a_yes
}

const PERSONS: usize = 40;
const ROUNDS: usize = 10;

/// Sends to each person in a round.
const SENDS: usize = 8;

/// Calls under way at once.
const AT_ONCE: usize = 32;

/// What is so about a person between two rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// They may be sent to.
    Yes,
    /// They have said no themselves.
    OwnNo,
    /// Somebody else has recorded their no.
    RecordedNo,
    /// What they wrote may be a no, and nobody has decided.
    Doubt,
    /// Likewise, and somebody else has recorded their no.
    RecordedNoInDoubt,
}

/// What a send comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Held,
    Refused,
}

impl Known {
    /// What a send to the person comes to.
    fn outcome(self) -> Outcome {
        match self {
            Known::Yes => Outcome::Accepted,
            Known::Doubt => Outcome::Held,
            Known::OwnNo | Known::RecordedNo | Known::RecordedNoInDoubt => Outcome::Refused,
        }
    }

    fn is_in_doubt(self) -> bool {
        matches!(self, Known::Doubt | Known::RecordedNoInDoubt)
    }
}

/// Something that bears on a person's consent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Stop,
    Phrase,
    Start,
    Doubtful,
    SenderRecordsNo,
    FileRecordsNo,
    SenderRecordsYes,
    FileRecordsYes,
    AdministratorRecordsYes,
    AdministratorShowsYes,
    SenderFindsNo,
    AdministratorDismisses,
}

impl Word {
    /// What is so after it, where `before` was so.
    fn after(self, before: Known) -> Known {
        match (self, before) {
            (Word::Stop | Word::Phrase, _) => Known::OwnNo,
            (Word::Start, _) => Known::Yes,
            (Word::Doubtful, Known::Yes) => Known::Doubt,
            (Word::Doubtful, Known::RecordedNo) => Known::RecordedNoInDoubt,
            (Word::SenderRecordsNo | Word::FileRecordsNo, Known::Yes) => Known::RecordedNo,
            (Word::SenderRecordsNo | Word::FileRecordsNo, Known::Doubt) => Known::RecordedNoInDoubt,
            (
                Word::SenderRecordsYes
                | Word::FileRecordsYes
                | Word::AdministratorRecordsYes
                | Word::AdministratorShowsYes,
                Known::RecordedNo,
            ) => Known::Yes,
            (
                Word::SenderRecordsYes
                | Word::FileRecordsYes
                | Word::AdministratorRecordsYes
                | Word::AdministratorShowsYes,
                Known::RecordedNoInDoubt,
            ) => Known::Doubt,
            (Word::AdministratorShowsYes, Known::OwnNo) => Known::Yes,
            (Word::SenderFindsNo, known) if known.is_in_doubt() => Known::OwnNo,
            (Word::AdministratorDismisses, Known::Doubt) => Known::Yes,
            (Word::AdministratorDismisses, Known::RecordedNoInDoubt) => Known::RecordedNo,
            _ => before,
        }
    }

    /// Those that make something else of what is so, or those that do not.
    fn all(known: Known, changes: bool) -> Vec<Word> {
        let all = [
            Word::Stop,
            Word::Phrase,
            Word::Start,
            Word::Doubtful,
            Word::SenderRecordsNo,
            Word::FileRecordsNo,
            Word::SenderRecordsYes,
            Word::FileRecordsYes,
            Word::AdministratorRecordsYes,
            Word::AdministratorShowsYes,
            Word::SenderFindsNo,
            Word::AdministratorDismisses,
        ];
        let decisions = [Word::SenderFindsNo, Word::AdministratorDismisses];
        let is_possible = |word: &Word| known.is_in_doubt() || !decisions.contains(word);
        let all = all.into_iter().filter(is_possible);
        all.filter(|word| (word.after(known) != known) == changes).collect()
    }
}

/// How a message is asked for.
#[derive(Debug, Clone, Copy)]
enum Door {
    Api,
    DropIn,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Send(Door),
    Say(Word),
}

/// A call that is over.
#[derive(Debug)]
struct Done {
    call: Call,
    began: Instant,
    ended: Instant,
    /// What it came to, if it was a send.
    outcome: Option<Outcome>,
}

/// The service's instances, and the Twilio that they share.
struct Site {
    world: World,
    second: Option<TestService>,
}

impl Site {
    async fn start(on: On) -> Self {
        let keys = api_keys();
        let settings =
            [("TEXTLEDGER_MPS", "10000"), ("TEXTLEDGER_LOG", "warn"), ("TEXTLEDGER_API_KEYS", keys.as_str())];
        let partitions = [("TEXTLEDGER_PARTITIONS", "4")];
        let world = match on {
            On::Embedded => World::start_with(on, &settings).await,
            On::Redis => World::start_with(on, &[&settings[..], &partitions].concat()).await,
        };
        let second = match on {
            On::Embedded => None,
            On::Redis => {
                let service = &world.service;
                let same = ["TEXTLEDGER_KEY_PREFIX", "TEXTLEDGER_STORE", "TWILIO_API_BASE_URL"];
                let same: Vec<_> = same.iter().map(|name| (*name, service.setting(name))).collect();
                let same = [&settings[..], &partitions, &same].concat();
                Some(TestService::start_with(on, &same).await)
            }
        };
        Self { world, second }
    }

    /// An instance, by chance.
    fn instance(&self, number: usize) -> &TestService {
        self.second.as_ref().filter(|_| number % 2 == 1).unwrap_or(&self.world.service)
    }

    async fn run(&self, call: Call, person: &str, open: &[String], number: usize, text: &str) -> Done {
        let began = Instant::now();
        let service = self.instance(number);
        let outcome = match call {
            Call::Send(door) => Some(send(service, door, person, text).await),
            Call::Say(word) => {
                say(service, word, person, open).await;
                None
            }
        };
        Done { call, began, ended: Instant::now(), outcome }
    }

    /// The replies under review, by person.
    async fn reviews(&self) -> BTreeMap<String, Vec<String>> {
        let (status, page) =
            answer(self.world.service.get(Role::Viewer, "/api/sms/consent/reviews?limit=500")).await;
        assert_eq!((status, &page["next_cursor"]), (200, &Value::Null), "{page}");
        let mut reviews: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for review in page["reviews"].as_array().unwrap() {
            let text = |name: &str| review[name].as_str().unwrap().to_owned();
            reviews.entry(text("phone_number")).or_default().push(text("message_sid"));
        }
        reviews
    }
}

/// Sends, and says what it came to; a refusal is one for the lack of consent.
async fn send(service: &TestService, door: Door, person: &str, text: &str) -> Outcome {
    let (status, body) = match door {
        Door::Api => {
            let body = json!({ "to_number": person, "message": text });
            answer(service.post(Role::Sender, "/api/sms/whatsapp/send", &body)).await
        }
        Door::DropIn => {
            let url = service.url(&format!("/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"));
            let to = format!("whatsapp:{person}");
            let form = [("To", to.as_str()), ("From", "whatsapp:+15005550006"), ("Body", text)];
            answer(reqwest::Client::new().post(url).basic_auth(ACCOUNT_SID, Some(SENDER_KEY)).form(&form))
                .await
        }
    };
    match (door, status, &body["status"], &body["code"]) {
        (Door::Api, 201, queued, _) if queued == "queued" => Outcome::Accepted,
        (Door::Api, 202, held, _) if held == "held" && body["reason"] == "review" => Outcome::Held,
        (Door::Api, 409, _, code) if code == "recipient_opted_out" => Outcome::Refused,
        (Door::DropIn, 201, accepted, _) if accepted == "accepted" => Outcome::Held,
        // It was held and refused before the answer was written, which tells how the message stands then.
        (Door::DropIn, 201, failed, _) if failed == "failed" && body["error_code"] == 21610 => Outcome::Held,
        (Door::DropIn, 201, queued, _) if queued == "queued" => Outcome::Accepted,
        (Door::DropIn, 400, _, code) if *code == 21610 => Outcome::Refused,
        _ => panic!("{door:?}: {status} {body}"),
    }
}

/// Says `word` of a person with these replies under review.
async fn say(service: &TestService, word: Word, person: &str, open: &[String]) {
    let write = async |words: &str| {
        static SIDS: AtomicU64 = AtomicU64::new(0);
        let sid = format!("SM{:032x}", SIDS.fetch_add(1, Ordering::Relaxed));
        let from = format!("whatsapp:{person}");
        let form = reply(&sid, &from, words);
        assert_eq!(service.webhook("/webhooks/twilio/inbound", &form).await.status(), 200);
    };
    let record = async |role, state: &str, evidence: Option<&str>| {
        let body = json!({
            "phone_number": person, "channel": "whatsapp", "state": state, "source": "api", "evidence": evidence,
        });
        let (status, body) = answer(service.post(role, "/api/sms/consent", &body)).await;
        assert!(status == 200 || body["code"] == json!("opted_out_by_person"), "{status} {body}");
    };
    let import = async |state: &str| {
        let line = format!("phone_number,channel,state,source,at,evidence\n{person},whatsapp,{state},,,\n");
        let request =
            service.anonymous(Method::POST, "/api/sms/consent/import").bearer_auth(token(Role::Admin));
        let (status, body) = answer(request.header("Content-Type", "text/csv").body(line)).await;
        assert_eq!((status, &body["rejected"]), (200, &json!(0)), "{body}");
    };
    let decide = async |role, sid: &str, decision: &str| {
        let path = format!("/api/sms/consent/reviews/{sid}");
        let (status, body) = answer(service.post(role, &path, &json!({ "decision": decision }))).await;
        assert_eq!(status, 200, "{body}");
    };
    match word {
        Word::Stop => write("STOP").await,
        Word::Phrase => write("please stop texting me").await,
        Word::Start => write("START").await,
        Word::Doubtful => write("wrong number").await,
        Word::SenderRecordsNo => record(Role::Sender, "opted_out", None).await,
        Word::FileRecordsNo => import("opted_out").await,
        Word::SenderRecordsYes => record(Role::Sender, "opted_in", None).await,
        Word::FileRecordsYes => import("opted_in").await,
        Word::AdministratorRecordsYes => record(Role::Admin, "opted_in", None).await,
        Word::AdministratorShowsYes => record(Role::Admin, "opted_in", Some("signed form 7")).await,
        Word::SenderFindsNo => decide(Role::Sender, &open[0], "opt_out").await,
        Word::AdministratorDismisses => {
            for sid in open {
                decide(Role::Admin, sid, "dismiss").await;
            }
        }
    }
}

/// What a round does to a person's consent.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// Words that change nothing.
    Quiet,
    /// One that does, beside others that would not change what was so before.
    Changes(Word),
    /// The person says STOP and START at once.
    Contradicts,
}

impl Turn {
    fn draw(draws: &mut StdRng, known: Known) -> Self {
        match draws.random_range(0..10) {
            0..4 => Turn::Quiet,
            4 => Turn::Contradicts,
            _ => {
                let words = Word::all(known, true);
                Turn::Changes(words[draws.random_range(0..words.len())])
            }
        }
    }

    /// What is said in the round. Beside a word that changes something, nothing is said that could do so after it.
    fn words(self, draws: &mut StdRng, known: Known) -> Vec<Word> {
        match self {
            Turn::Contradicts => vec![Word::Stop, Word::Start],
            Turn::Changes(word) => vec![word],
            Turn::Quiet => {
                let idle = Word::all(known, false);
                (0..draws.random_range(0..4)).map(|_| idle[draws.random_range(0..idle.len())]).collect()
            }
        }
    }
}

/// What a send has come to that ran beside `words`; `None` if it may have been one thing or the other.
fn expected(known: Known, turn: Turn, send: &Done, words: &[&Done]) -> Option<Outcome> {
    match turn {
        Turn::Quiet => Some(known.outcome()),
        Turn::Contradicts => None,
        Turn::Changes(word) => {
            let said = words.iter().find(|done| matches!(done.call, Call::Say(said) if said == word))?;
            if send.ended <= said.began {
                Some(known.outcome())
            } else if send.began >= said.ended {
                Some(word.after(known).outcome())
            } else {
                None
            }
        }
    }
}

fn person(number: usize) -> String {
    format!("+1415555{:04}", 1_000 + number)
}

/// What an instance knows of a person, who has replies under review or not.
async fn known(service: &TestService, person: &str, is_reviewed: bool) -> Known {
    let (status, body) = answer(service.get(Role::Viewer, &format!("/api/sms/consent/{person}"))).await;
    assert_eq!(status, 200, "{body}");
    let whatsapp = &body["channels"]["whatsapp"];
    match (whatsapp["state"].as_str().unwrap(), whatsapp["source"].as_str()) {
        ("opted_out", Some("keyword" | "phrase")) => Known::OwnNo,
        ("opted_out", _) if is_reviewed => Known::RecordedNoInDoubt,
        ("opted_out", _) => Known::RecordedNo,
        _ if is_reviewed => Known::Doubt,
        _ => Known::Yes,
    }
}

/// A bulk to everybody, until each of its messages is with Twilio, refused or held.
async fn bulk(site: &Site, number: usize, text: &str) {
    let service = site.instance(number);
    let persons: Vec<String> = (0..PERSONS).map(person).collect();
    let body = json!({ "phone_numbers": persons, "message": text });
    let (status, batch) = answer(service.post(Role::Sender, "/api/sms/whatsapp/send-bulk", &body)).await;
    assert_eq!(status, 202, "{batch}");
    let path = format!("/api/sms/batches/{}", batch["batch_id"].as_str().unwrap());
    let done = async || {
        let (_, batch) = answer(service.get(Role::Viewer, &path)).await;
        ["waiting", "sending", "unknown"].iter().all(|state| batch["counts"][state] == 0).then_some(())
    };
    eventually("nothing of the batch is under way", done).await;
}

async fn no_send_is_accepted_after_a_no_and_none_refused_after_a_yes(on: On) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut draws = StdRng::seed_from_u64(seed);
    let site = Arc::new(Site::start(on).await);
    let mut so_far = [Known::Yes; PERSONS];
    let (mut sends, mut decided, mut words) = (0, 0, 0);
    for round in 0..ROUNDS {
        let open = Arc::new(site.reviews().await);
        let turns: Vec<Turn> = so_far.iter().map(|known| Turn::draw(&mut draws, *known)).collect();
        let mut calls = Vec::new();
        for (number, (turn, known)) in turns.iter().zip(so_far).enumerate() {
            let says = turn.words(&mut draws, known).into_iter().map(Call::Say);
            let doors =
                (0..SENDS).map(|send| Call::Send(if send % 4 == 0 { Door::DropIn } else { Door::Api }));
            calls.extend(says.chain(doors).map(|call| (number, call)));
        }
        calls.shuffle(&mut draws);

        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut running = JoinSet::new();
        let in_bulk = format!("to all, {round}");
        for (place, (number, call)) in calls.into_iter().enumerate() {
            let (site, gate, open) = (site.clone(), gate.clone(), open.clone());
            let instance: usize = draws.random_range(0..2);
            running.spawn(async move {
                let _permit = gate.acquire().await.unwrap();
                let (person, text) = (person(number), format!("{round}.{place}"));
                let open = open.get(&person).map(Vec::as_slice).unwrap_or_default();
                (number, site.run(call, &person, open, instance, &text).await)
            });
        }
        let mut done: BTreeMap<usize, Vec<Done>> = BTreeMap::new();
        let (calls, ()) = tokio::join!(running.join_all(), bulk(&site, round, &in_bulk));
        for (number, call) in calls {
            done.entry(number).or_default().push(call);
        }

        let mut accepted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in site.world.twilio.messages() {
            accepted.entry(message.to.bare().to_string()).or_default().push(message.body);
        }
        let reviewed = site.reviews().await;
        for (number, (turn, known_before)) in turns.into_iter().zip(so_far).enumerate() {
            let person = person(number);
            let whose = format!("seed {seed}, round {round}, {person}, {known_before:?}, {turn:?}");
            let (sent, said): (Vec<&Done>, Vec<&Done>) =
                done[&number].iter().partition(|done| matches!(done.call, Call::Send(_)));
            for send in &sent {
                if let Some(expected) = expected(known_before, turn, send, &said) {
                    assert_eq!(send.outcome, Some(expected), "{whose}: {send:?} beside {said:?}");
                    decided += 1;
                }
            }
            let of_person = accepted.get(&person).map(Vec::as_slice).unwrap_or_default();
            let at_twilio = |prefix: &str| of_person.iter().filter(|body| body.starts_with(prefix)).count();
            let here = |outcome| sent.iter().filter(|done| done.outcome == Some(outcome)).count();
            let (accepted, held) = (here(Outcome::Accepted), here(Outcome::Held));
            let left = at_twilio(&format!("{round}."));
            // What was held leaves as soon as it may, but at once only if nobody is in doubt any more.
            assert!(
                (accepted..=accepted + held).contains(&left),
                "{whose}: {left} left, {accepted} accepted"
            );
            if matches!(turn, Turn::Quiet) {
                assert_eq!(left, accepted, "{whose}: what Twilio has");
                assert_eq!(at_twilio(&in_bulk), usize::from(known_before == Known::Yes), "{whose}: the bulk");
            }
            let is_reviewed = reviewed.contains_key(&person);
            let now = known(&site.world.service, &person, is_reviewed).await;
            if let Some(second) = &site.second {
                assert_eq!(known(second, &person, is_reviewed).await, now, "{whose}: the other instance");
            }
            match turn {
                Turn::Quiet => assert_eq!(now, known_before, "{whose}: {said:?}"),
                Turn::Changes(word) => assert_eq!(now, word.after(known_before), "{whose}"),
                Turn::Contradicts => assert!(matches!(now, Known::Yes | Known::OwnNo), "{whose}: {now:?}"),
            }
            so_far[number] = now;
            sends += sent.len() + 1;
            words += said.len();
        }
    }
    for (person, open) in site.reviews().await {
        say(&site.world.service, Word::AdministratorDismisses, &person, &open).await;
    }
    let held = async || {
        let (_, page) = answer(site.world.service.get(Role::Viewer, "/api/sms/messages?status=held")).await;
        page["messages"].as_array().unwrap().is_empty().then_some(())
    };
    eventually("what was held has left or is refused", held).await;
    let mut texts = BTreeSet::new();
    for message in site.world.twilio.messages() {
        let is_new = texts.insert((message.to.to_twilio(), message.body.clone()));
        assert!(is_new, "seed {seed}: {:?} left twice", message.body);
    }

    println!("{sends} sends beside {words} words; of {decided} the outcome is certain");
    assert!(decided * 2 > sends, "{decided} of {sends}");
    let mut obeyed = 0;
    for service in [Some(&site.world.service), site.second.as_ref()].into_iter().flatten() {
        obeyed += service.metric("textledger_opt_out_seconds_count").await;
    }
    assert!(obeyed > 0);
}
