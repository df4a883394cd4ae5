//! What is counted and measured, in one place; `GET /metrics` writes it down for Prometheus.
//!
//! Labels have few values each: no message, no number and no text of a caller becomes one.

use std::{fmt, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The media type of [`Metrics::write`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of [`Metrics::forward_delay`]'s classes, in seconds: from an application nearby to one that was away for a day.
const FORWARD_SECONDS: [f64; 10] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 86_400.0];

/// Bounds of [`Metrics::opted_out`]'s classes, in seconds: from a store beside the service to a spool that waited for hours.
const OPT_OUT_SECONDS: [f64; 14] =
    [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3_600.0, 86_400.0];

/// Where Twilio posts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Route {
    /// Status callbacks.
    Status,
    /// Incoming messages.
    Inbound,
    /// Event Streams.
    Events,
}

/// What became of a webhook request, or of one event of Event Streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WebhookResult {
    /// Stored.
    Accepted,
    /// Stored before.
    Duplicate,
    /// Stored; the message stays where it was.
    Late,
    /// Not signed as it should be.
    Refused,
    /// Signed, and cannot be read.
    Invalid,
    /// Kept on this machine: in the spool, since the store is away or slow, or put aside.
    Spooled,
    /// Turned away: too much waits already, it can be kept nowhere, or whose it is cannot be known while the store is away.
    Overloaded,
}

/// How a webhook was misdirected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Misdirection {
    /// An incoming message, at the URL of status callbacks.
    IncomingMessage,
    /// A status callback, at the URL of incoming messages.
    StatusCallback,
    /// Anything signed, at a path below `/webhooks/` where nothing is taken.
    UnknownPath,
}

/// Why a poll at Twilio was made, or what came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PollResult {
    /// A status that nothing else had told.
    Learned,
    /// Nothing new.
    Known,
    /// Twilio has no such message, any more or yet.
    Gone,
    /// Twilio did not answer as it should, or what its answer rests on cannot be read here; asked again later.
    Failed,
}

/// What became of a try to tell a caller's own URL of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RelayResult {
    /// The receiver has it.
    Told,
    /// It is tried again later.
    Again,
    /// The receiver does not want it, or its URL may not be called.
    Refused,
    /// The receiver was away for too long.
    GivenUp,
}

/// What became of a reply that may be an opt-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReviewResult {
    /// It waits for a decision.
    Opened,
    /// It was an opt-out.
    OptOut,
    /// It was none.
    Dismiss,
    /// Nobody decided, and it became an opt-out.
    Expired,
}

/// An address that is listened on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Listener {
    /// The main one.
    Api,
    /// The one for webhooks alone.
    Webhooks,
    /// The one for metrics alone.
    Metrics,
}

/// Why a request could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// Its URL is none, or longer than the HTTP library reads.
    Url,
    /// Its head is longer than that.
    Head,
    /// It is no HTTP.
    Malformed,
}

/// Why a connection was closed for want of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ConnectionClosed {
    /// Another one of the same peer came, which had as many as it may.
    ByPeer,
    /// Another one came, and the address had as many as it may.
    ByAll,
    /// It came when none of the others could be spared.
    Newcomer,
}

/// Who reads the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Anybody: accounts are not told apart.
    Stranger,
    /// Whoever reaches the operator's own address.
    Operator,
}

/// Why somebody was not signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignInRefusal {
    /// They said nothing of who they are.
    NoCredentials,
    /// No API key is like that.
    UnknownKey,
    /// The API key has expired, was revoked, or has another secret since.
    EndedKey,
    /// The token is not signed by whom it should be, or does not say what it should.
    BadToken,
    /// The token has expired.
    ExpiredToken,
    /// The account of the path is not that of the key or token.
    WrongAccount,
    /// Whether the API key is good cannot be known without the store.
    StoreUnavailable,
}

macro_rules! label_values {
    ($($type:ident { $($name:ident = $text:literal),+ $(,)? })+) => {$(
        impl $type {
            /// The word in labels and logs.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$name => $text,)+ }
            }
        }

        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    )+};
}

label_values! {
    Route { Status = "status", Inbound = "inbound", Events = "events" }
    WebhookResult {
        Accepted = "accepted", Duplicate = "duplicate", Late = "late", Refused = "refused", Invalid = "invalid",
        Spooled = "spooled", Overloaded = "overloaded",
    }
    Listener { Api = "api", Webhooks = "webhooks", Metrics = "metrics" }
    Unreadable { Url = "url", Head = "head", Malformed = "malformed" }
    ConnectionClosed { ByPeer = "peer", ByAll = "all", Newcomer = "newcomer" }
    Misdirection {
        IncomingMessage = "incoming_message", StatusCallback = "status_callback", UnknownPath = "unknown_path",
    }
    RelayResult { Told = "told", Again = "again", Refused = "refused", GivenUp = "given_up" }
    ReviewResult { Opened = "opened", OptOut = "opt_out", Dismiss = "dismiss", Expired = "expired" }
    SignInRefusal {
        NoCredentials = "no_credentials", UnknownKey = "unknown_key", EndedKey = "ended_key", BadToken = "bad_token",
        ExpiredToken = "expired_token", WrongAccount = "wrong_account", StoreUnavailable = "store_unavailable",
    }
    PollResult { Learned = "learned", Known = "known", Gone = "gone", Failed = "failed" }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    route: Route,
    result: WebhookResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MisdirectionLabels {
    mistake: Misdirection,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyLabels {
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AccountKeyLabels {
    account_sid: String,
    key: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ConnectionLabels {
    listener: Listener,
    cause: ConnectionClosed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnreadableLabels {
    listener: Listener,
    cause: Unreadable,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PollLabels {
    result: PollResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WishLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SettingsLabels {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    fault: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RelayLabels {
    result: RelayResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReviewLabels {
    result: ReviewResult,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignInLabels {
    cause: SignInRefusal,
}

/// Everything that is counted and measured.
pub struct Metrics {
    registry: Registry,
    /// What only strangers see, in place of what only operators see.
    for_strangers: Registry,
    for_operators: Registry,
    signatures: Family<KeyLabels, Counter>,
    account_signatures: Family<AccountKeyLabels, Counter>,
    webhook_requests: Family<WebhookLabels, Counter>,
    misdirected_webhooks: Family<MisdirectionLabels, Counter>,
    statuses: Family<SourceLabels, Counter>,
    polls: Family<PollLabels, Counter>,
    relays: Family<RelayLabels, Counter>,
    forwards: Family<RelayLabels, Counter>,
    endpoints_paused: Counter,
    consent_link_changes: Family<WishLabels, Counter>,
    reviews: Family<ReviewLabels, Counter>,
    sign_ins_refused: Family<SignInLabels, Counter>,
    roles_refused: Counter,
    rate_limited: Counter,
    jwks_age_seconds: Gauge,
    settings_not_in_force: Family<SettingsLabels, Gauge>,
    listings: Counter,
    unknown_events: Counter,
    store_known: Gauge,
    spool_replayed: Counter,
    spool_unreadable: Counter,
    spool_entries: Gauge,
    spool_bytes: Gauge,
    spool_oldest_seconds: Gauge,
    spool_fault: Family<FaultLabels, Gauge>,
    spool_taken_over: Counter,
    spool_lost: Gauge,
    spool_put_aside: Counter,
    spool_aside: Gauge,
    store_fault: Family<FaultLabels, Gauge>,
    store_file_bytes: Gauge,
    store_damaged_reads: Gauge,
    waiting: Gauge,
    connections_closed: Family<ConnectionLabels, Counter>,
    unreadable_requests: Family<UnreadableLabels, Counter>,
    event_streams: Gauge,
    accounts_stopped: Counter,
    senders_paused: Counter,
    numbers_suppressed: Counter,
    daily_limit_warnings: Counter,
    suspicious_messages: Counter,
    unreadable_records: Counter,
    queued_messages: Gauge,
    queued_bytes: Gauge,
    retention_removed: Family<KindLabels, Counter>,
    retention_end_seconds: Gauge,
    retention_behind_seconds: Gauge,
    opt_out_seconds: Histogram,
    forward_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("textledger");
        let opt_out_seconds = Histogram::new(OPT_OUT_SECONDS);
        registry.register(
            "opt_out_seconds",
            "Time from the arrival of a person's request to stop until it is stored and obeyed, in the spool too",
            opt_out_seconds.clone(),
        );
        let forward_seconds = Histogram::new(FORWARD_SECONDS);
        registry.register(
            "forward_seconds",
            "Time from the recording of an event until the application had taken it",
            forward_seconds.clone(),
        );
        let (mut for_strangers, mut for_operators) =
            (Registry::with_prefix("textledger"), Registry::with_prefix("textledger"));
        let (signatures, account_signatures) = (Family::default(), Family::default());
        let help = "Webhook requests by the key that signed them";
        for_strangers.register("signatures", help, Family::clone(&signatures));
        for_operators.register("signatures", help, Family::clone(&account_signatures));
        macro_rules! register {
            ($($name:ident: $help:literal),+ $(,)?) => {
                $(let $name = Default::default(); let kept = Clone::clone(&$name);
                  registry.register(stringify!($name), $help, $name); let $name = kept;)+
                Self {
                    $($name,)+ opt_out_seconds, forward_seconds, registry, for_strangers, for_operators, signatures, account_signatures
                }
            };
        }
        register! {
            webhook_requests: "Webhook requests of Twilio's by what became of them; events of Event Streams one by one",
            misdirected_webhooks: "Signed webhook requests that came to a wrong URL, by what was mistaken",
            statuses: "Statuses that moved a message, by who told them; poll means that no callback did",
            polls: "Messages asked for at Twilio since no final status had come, by what came of it",
            relays: "Tries to tell callers' own StatusCallback URLs of a status, by what came of it",
            forwards: "Tries to tell the application of an event, by what came of it",
            endpoints_paused: "Endpoints of the application that were paused, since they took nothing for a day",
            consent_link_changes: "Changes of consent that people made on the page of a link, by what they wished",
            reviews: "Replies that may be an opt-out, by what became of them",
            sign_ins_refused: "Requests from nobody who is known, by what was wrong with their token or key",
            roles_refused: "Requests of callers whose role was not enough",
            rate_limited: "Requests of known callers beyond TEXTLEDGER_API_RATE",
            jwks_age_seconds: "Time since the platform's public keys were fetched from TEXTLEDGER_JWKS_URL, 0 if they never were",
            settings_not_in_force: "Organizations whose saved settings are not in force: unverified since Twilio could not be asked, or refused by it",
            listings: "Daily listings of an account's messages at Twilio that came to their end",
            unknown_events: "Events of Event Streams of types that are not known",
            store_known: "1 while the store is the one that this installation knew, 0 while it is not and nothing is sent",
            spool_replayed: "Webhooks that were spooled and have reached the store",
            spool_unreadable: "Records of the spool that could not be read",
            spool_entries: "Webhooks in the spool",
            spool_bytes: "Size of the spool on disk",
            spool_fault: "1 while the spool would turn away a webhook, since it is full or cannot be written",
            spool_taken_over: "Webhooks in the spool that processes left which have ended, and that this one took over",
            spool_put_aside: "Webhooks that were put aside, since a record of the store kept them from being stored",
            spool_aside: "Webhooks that are put aside now",
            store_fault: "1 while the store is away or slower than Twilio waits, or its file is unwritable or damaged",
            store_file_bytes: "Length of the embedded store's file, 0 if the store is elsewhere",
            store_damaged_reads: "Reads that came upon a damaged part of the embedded store's file since the start",
            spool_lost: "Webhooks whose file in the spool was removed before they reached the store",
            spool_oldest_seconds: "Age of the oldest webhook in the spool, 0 if there is none",
            waiting: "Verified webhooks that wait for their turn",
            connections_closed: "Connections that were closed for want of room, by address and cause",
            unreadable_requests: "Requests that are no HTTP or too long to be read, by address and cause",
            event_streams: "Live streams of events that are open",
            accounts_stopped: "Times at which an account's queue was stopped, since Twilio takes nothing from the account",
            senders_paused: "Times at which the queue of a sender was paused, since its messages fail",
            numbers_suppressed: "Numbers to which nothing is sent any more on a channel, since several messages in a row have failed",
            daily_limit_warnings: "Days on which an organization has sent 80 % of what it may",
            suspicious_messages: "Messages that were held as part of a burst of first messages to neighbouring numbers",
            unreadable_records: "Times at which a stored record could not be read beside others, and was left out or left alone",
            queued_messages: "Messages in the queues of all organizations",
            queued_bytes: "What the messages in the queues take, in bytes of sealed content",
            retention_removed: "What was taken away because it was older than TEXTLEDGER_RETENTION_DAYS, by kind",
            retention_end_seconds: "When this instance last ended looking for what is too old, in seconds since 1970, 0 if it has not yet",
            retention_behind_seconds: "How much older than it is to be the oldest was that was left then",
        }
    }

    /// Counts a webhook request.
    pub fn webhook(&self, route: Route, result: WebhookResult) {
        self.webhook_requests.get_or_create(&WebhookLabels { route, result }).inc();
    }

    /// Counts a webhook request that came to a wrong URL.
    pub fn misdirected(&self, mistake: Misdirection) {
        self.misdirected_webhooks.get_or_create(&MisdirectionLabels { mistake }).inc();
    }

    /// Counts a use of the key called `key` of the account `account_sid`.
    pub fn signature(&self, account_sid: &str, key: String) {
        let account_sid = account_sid.to_owned();
        self.account_signatures.get_or_create(&AccountKeyLabels { account_sid, key: key.clone() }).inc();
        self.signatures.get_or_create(&KeyLabels { key }).inc();
    }

    /// Counts a status that moved a message, told by `source`.
    pub fn status(&self, source: &'static str) {
        self.statuses.get_or_create(&SourceLabels { source }).inc();
    }

    /// Counts a message asked for.
    pub fn poll(&self, result: PollResult) {
        self.polls.get_or_create(&PollLabels { result }).inc();
    }

    /// Counts a try to tell a caller's own URL of a status.
    pub fn relay(&self, result: RelayResult) {
        self.relays.get_or_create(&RelayLabels { result }).inc();
    }

    /// Counts a try to tell the application of an event.
    pub fn forward(&self, result: RelayResult) {
        self.forwards.get_or_create(&RelayLabels { result }).inc();
    }

    /// Observes that the application took an event so long `after` it was recorded.
    pub fn forward_delay(&self, after: Duration) {
        self.forward_seconds.observe(after.as_secs_f64());
    }

    /// Counts an endpoint of the application that was paused.
    pub fn endpoint_paused(&self) {
        self.endpoints_paused.inc();
    }

    /// Counts a change of consent on the page of a link, to `state`.
    pub fn consent_link_change(&self, state: &'static str) {
        self.consent_link_changes.get_or_create(&WishLabels { state }).inc();
    }

    /// Counts a reply under review.
    pub fn review(&self, result: ReviewResult) {
        self.reviews.get_or_create(&ReviewLabels { result }).inc();
    }

    /// Counts somebody who was not signed in.
    pub fn sign_in_refused(&self, cause: SignInRefusal) {
        self.sign_ins_refused.get_or_create(&SignInLabels { cause }).inc();
    }

    /// Counts a caller whose role was not enough.
    pub fn role_refused(&self) {
        self.roles_refused.inc();
    }

    /// Counts a request of a known caller's that was one too many.
    pub fn rate_limited(&self) {
        self.rate_limited.inc();
    }

    /// Tells how long ago the platform's public keys were fetched.
    pub fn jwks_age(&self, seconds: u64) {
        self.jwks_age_seconds.set(i64::try_from(seconds).unwrap_or(i64::MAX));
    }

    /// Tells of how many organizations the saved settings are not in force.
    pub fn settings_not_in_force(&self, unverified: usize, refused: usize) {
        for (state, count) in [("unverified", unverified), ("refused", refused)] {
            let gauge = self.settings_not_in_force.get_or_create(&SettingsLabels { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts a finished listing.
    pub fn listing(&self) {
        self.listings.inc();
    }

    /// Counts an event whose type is not known.
    pub fn unknown_event(&self) {
        self.unknown_events.inc();
    }

    /// Tells whether the store is the known one.
    pub fn store_known(&self, is_known: bool) {
        self.store_known.set(is_known.into());
    }

    /// Counts `entries` of the spool that have reached the store.
    pub fn replayed(&self, entries: u64) {
        self.spool_replayed.inc_by(entries);
    }

    /// Counts records of the spool that could not be read.
    pub fn unreadable(&self, records: u64) {
        self.spool_unreadable.inc_by(records);
    }

    /// Tells how much is in the spool.
    pub fn spool(&self, entries: u64, bytes: u64, oldest_seconds: u64) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.spool_entries.set(gauge(entries));
        self.spool_bytes.set(gauge(bytes));
        self.spool_oldest_seconds.set(gauge(oldest_seconds));
    }

    /// Tells how long the embedded store's file is, in bytes, and how many reads came upon a damaged part of it.
    pub fn store_file(&self, bytes: u64, damaged_reads: u64) {
        self.store_damaged_reads.set(i64::try_from(damaged_reads).unwrap_or(i64::MAX));
        self.store_file_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Tells what is wrong with the spool, and how many of its records were `lost`.
    pub fn spool_faults(&self, fault: Option<&'static str>, lost: u64) {
        set_fault(&self.spool_fault, &["full", "unwritable"], fault);
        self.spool_lost.set(i64::try_from(lost).unwrap_or(i64::MAX));
    }

    /// Counts a webhook that is put aside.
    pub fn put_aside(&self) {
        self.spool_put_aside.inc();
    }

    /// Tells how many webhooks are put aside now, and what is wrong with the store.
    pub fn store_faults(&self, aside: usize, fault: Option<&'static str>) {
        self.spool_aside.set(i64::try_from(aside).unwrap_or(i64::MAX));
        set_fault(&self.store_fault, &["away", "slow", "unwritable", "damaged"], fault);
    }

    /// Counts records of the spool that were taken over.
    pub fn taken_over(&self, records: u64) {
        self.spool_taken_over.inc_by(records);
    }

    /// Tells how many webhooks wait.
    pub fn waiting(&self, webhooks: usize) {
        self.waiting.set(i64::try_from(webhooks).unwrap_or(i64::MAX));
    }

    /// Counts a connection that was closed for want of room.
    pub fn connection_closed(&self, listener: Listener, cause: ConnectionClosed) {
        self.connections_closed.get_or_create(&ConnectionLabels { listener, cause }).inc();
    }

    /// Counts a request that could not be read.
    pub fn unreadable_request(&self, listener: Listener, cause: Unreadable) {
        self.unreadable_requests.get_or_create(&UnreadableLabels { listener, cause }).inc();
    }

    /// Tells how many live streams are open.
    pub fn event_streams(&self, open: usize) {
        self.event_streams.set(i64::try_from(open).unwrap_or(i64::MAX));
    }

    /// Counts an account whose queue is stopped.
    pub fn account_stopped(&self) {
        self.accounts_stopped.inc();
    }

    /// Counts a sender whose queue is paused.
    pub fn sender_paused(&self) {
        self.senders_paused.inc();
    }

    /// Counts a number to which nothing is sent any more.
    pub fn number_suppressed(&self) {
        self.numbers_suppressed.inc();
    }

    /// Counts a day on which an organization has sent most of what it may.
    pub fn daily_limit_warning(&self) {
        self.daily_limit_warnings.inc();
    }

    /// Counts a message that is held as one of a burst.
    pub fn suspicious_message(&self) {
        self.suspicious_messages.inc();
    }

    /// Counts a look at a record that cannot be read.
    pub fn unreadable_record(&self) {
        self.unreadable_records.inc();
    }

    /// Tells how much is in the queues.
    pub fn queued(&self, messages: u64, bytes: u64) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.queued_messages.set(gauge(messages));
        self.queued_bytes.set(gauge(bytes));
    }

    /// Counts what was taken away because of its age.
    pub fn retention_removed(&self, by_kind: &[(&'static str, u64)]) {
        for (kind, count) in by_kind {
            self.retention_removed.get_or_create(&KindLabels { kind }).inc_by(*count);
        }
    }

    /// Tells when it was last looked for what is too old, and how much older the oldest is that was left.
    pub fn retention_ended(&self, at_s: u64, behind: Duration) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.retention_end_seconds.set(gauge(at_s));
        self.retention_behind_seconds.set(gauge(behind.as_secs()));
    }

    /// Tells how long a person's request to stop took from its arrival until it was obeyed.
    pub fn opted_out(&self, after: Duration) {
        self.opt_out_seconds.observe(after.as_secs_f64());
    }

    /// Writes down everything that is `reader`'s to see, in OpenMetrics' text format, which Prometheus reads.
    pub fn write(&self, reader: Reader) -> String {
        let further = match reader {
            Reader::Stranger => &self.for_strangers,
            Reader::Operator => &self.for_operators,
        };
        let mut written = String::new();
        text::encode_registry(&mut written, &self.registry)
            .and_then(|()| text::encode_registry(&mut written, further))
            .and_then(|()| text::encode_eof(&mut written))
            .expect("a String takes everything that is written");
        written
    }
}

/// Sets the one of `words` to 1 that is the `fault`, and the other to 0.
fn set_fault(gauges: &Family<FaultLabels, Gauge>, words: &[&'static str], fault: Option<&'static str>) {
    for word in words {
        gauges.get_or_create(&FaultLabels { fault: word }).set(i64::from(fault == Some(*word)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_down() {
        let metrics = Metrics::new();
        metrics.webhook(Route::Status, WebhookResult::Accepted);
        metrics.signature("AC1", "auth_token".to_owned());
        metrics.spool(3, 400, 5);
        metrics.opted_out(Duration::from_millis(7));
        metrics.connection_closed(Listener::Api, ConnectionClosed::ByPeer);
        let written = metrics.write(Reader::Operator);
        for line in [
            r#"textledger_webhook_requests_total{route="status",result="accepted"} 1"#,
            r#"textledger_signatures_total{account_sid="AC1",key="auth_token"} 1"#,
            r#"textledger_connections_closed_total{listener="api",cause="peer"} 1"#,
            "textledger_spool_entries 3",
            "textledger_spool_oldest_seconds 5",
            r#"textledger_opt_out_seconds_bucket{le="0.005"} 0"#,
            r#"textledger_opt_out_seconds_bucket{le="0.01"} 1"#,
        ] {
            assert!(written.lines().any(|written| written == line), "{line}\n{written}");
        }
    }

    #[test]
    fn strangers_do_not_learn_which_accounts_there_are() {
        let metrics = Metrics::new();
        metrics.signature("AC1", "auth_token".to_owned());
        metrics.signature("AC2", "auth_token".to_owned());
        let written = metrics.write(Reader::Stranger);
        assert!(written.contains(r#"textledger_signatures_total{key="auth_token"} 2"#), "{written}");
        assert!(!written.contains("AC1") && written.ends_with("# EOF\n"), "{written}");
        assert_eq!(written.matches("# EOF").count(), 1);
    }
}
