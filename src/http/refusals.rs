//! Refused signatures, explained to the operator and to nobody else.
//!
//! A refusal is handed over without waiting and looked into beside the requests, at a bounded rate: what it costs does
//! not depend on who sends how much, and the time of an answer tells nothing. The last ones of each organization are
//! kept for its administrators, without bodies, those of each kind apart: anybody can send a thousand requests without a
//! signature, and none of them may push out the one that says why Twilio's are refused. For the same reason each kind has
//! its own lines in the log, the accounts that are named take [`turns`], and of one kind whoever has sent most makes room.

mod turns;

use std::{
    cmp::Reverse,
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use actix_web::{HttpResponse, web};
use bytes::Bytes;
use rand::RngExt;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior};
use utoipa::ToSchema;

use self::turns::{Turns, most_frequent};
use super::{
    State,
    auth::{Caller, Right},
    connections::network_of,
    contract::operations::{self, ReadProblems},
    payload_kind::PayloadKind,
    problem::Problem,
    public_url::PublicUrl,
    time,
};
use crate::{
    app::{
        App,
        accounts::{
            Account,
            pending::{KnownPending, Verification},
        },
    },
    domain::{Organization, UnixMs, account::is_same_account},
    sampling::Sampled,
    twilio::{
        AccountSid, Form,
        signature::{
            Keyring, SigningKey,
            doctor::{self, Cause, Finding, Hints, NamedKey, Owner},
        },
    },
};

/// Refusals of each kind that are kept for each organization.
const KEPT_MAX: usize = 25;

/// Refusals that wait to be looked into; of further ones as many are only logged.
const WAITING_MAX: usize = 128;

/// Lines in the log for each kind of refusal, in a minute.
const LINES_PER_MINUTE: u32 = 20;

/// How often one is looked into at the most: a look costs up to some milliseconds of one processor.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Characters of a `Host` header that are kept: a name has at most 253, and a port.
const HOST_CHARACTERS_MAX: usize = 260;

/// Other accounts whose keys are tried for one request.
const ACCOUNTS_MAX: usize = 256;

/// Organizations whose settings are not in force that name the same account, and whose keys are tried for one request.
const CLAIMS_MAX: usize = 8;

/// Why a webhook was refused, as it is told to an organization whose settings are not in force: the same whether anybody
/// here has the account or not.
const NOT_IN_FORCE: &str = "the signature is refused: the settings that name this account are not in force";

/// A request whose signature was refused.
pub struct RefusedRequest {
    /// When: milliseconds since 1970.
    pub at: UnixMs,
    /// The account that it claims to come from, if that is one of ours.
    pub account: Option<Arc<Account>>,
    /// The account that it claims to come from, whether that is known here or not.
    pub claimed: Option<AccountSid>,
    /// Why it was refused.
    pub reason: String,
    /// Who sent it.
    pub peer: Option<String>,
    /// Its path.
    pub path: String,
    /// Its method.
    pub method: String,
    /// Path and query as received.
    pub target: String,
    /// What its signature header says.
    pub signature: String,
    /// What its settings header says.
    pub settings: String,
    /// The `Host` header, and what proxies say of themselves.
    pub host: Option<String>,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Option<String>,
    /// `X-Forwarded-Port`.
    pub forwarded_port: Option<String>,
    /// `X-Forwarded-Prefix`.
    pub forwarded_prefix: Option<String>,
    /// What it carries.
    pub kind: PayloadKind,
    /// Its body.
    pub body: Bytes,
}

/// A webhook whose signature was refused, or that came to a wrong URL, as the API shows it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Refusal)]
pub struct RefusalView {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The account that it claims to come from, if that is known.
    pub account_sid: Option<String>,
    /// Who sent it.
    pub peer: Option<String>,
    /// Its `Host` header.
    pub host: Option<String>,
    /// Why it was refused, or what is wrong with where it was posted.
    pub reason: String,
    /// What is wrong, if that was found out.
    pub cause: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// What to change.
    pub mend: Option<String>,
}

/// Webhooks whose signature was refused, and those that came to a wrong URL.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refusals)]
struct RefusalsView {
    /// Newest first.
    refusals: Vec<RefusalView>,
    /// The organization's saved settings, if they are not in force: every webhook of an account that only they name is
    /// refused.
    settings_not_in_force: Option<SettingsNotInForceView>,
}

/// Settings that verify no webhook.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettingsNotInForce)]
struct SettingsNotInForceView {
    /// Their account.
    account_sid: String,
    /// `unverified` if Twilio could not be asked about them, `refused` if it has said no.
    verification: &'static str,
    /// What that means.
    detail: Option<String>,
    /// What to do.
    mend: &'static str,
}

impl SettingsNotInForceView {
    fn new(pending: &KnownPending) -> Self {
        Self {
            account_sid: pending.account_sid.to_string(),
            verification: pending.verification.as_str(),
            detail: pending.verification.detail(),
            mend: pending.verification.mend(),
        }
    }
}

/// What kind of refusal it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    /// There is no signature.
    Unsigned,
    /// It is of no account of ours.
    OfStrangers,
    /// It claims to be of an account of ours, and nothing is found by which it would be.
    Unexplained,
    /// What is wrong was found out.
    Explained(Cause),
    /// It was signed, and came to a wrong URL.
    Misdirected,
}

impl Kind {
    fn of(refused: &RefusedRequest, finding: Option<&Finding>) -> Self {
        match finding {
            Some(finding) => Kind::Explained(finding.cause),
            None if refused.signature.is_empty() => Kind::Unsigned,
            None if refused.account.is_none() => Kind::OfStrangers,
            None => Kind::Unexplained,
        }
    }
}

/// The refusals that are kept for one organization.
#[derive(Default)]
struct Kept {
    /// The newest first, each with its place among all.
    of_kind: HashMap<Kind, VecDeque<(u64, RefusalView)>>,
    count: u64,
}

impl Kept {
    /// Keeps `refusal`. If there are enough of its kind, the oldest of whoever has sent most of them makes room.
    fn add(&mut self, kind: Kind, refusal: RefusalView) {
        self.count += 1;
        let of_kind = self.of_kind.entry(kind).or_default();
        of_kind.push_front((self.count, refusal));
        if of_kind.len() > KEPT_MAX
            && let Some(most) = most_frequent(of_kind.iter().map(|(_, kept)| sender(kept.peer.as_deref())))
            && let Some(oldest) = of_kind.iter().rposition(|(_, kept)| sender(kept.peer.as_deref()) == most)
        {
            of_kind.remove(oldest);
        }
    }

    /// All of them, the newest first.
    fn newest_first(&self) -> Vec<RefusalView> {
        let mut all: Vec<&(u64, RefusalView)> = self.of_kind.values().flatten().collect();
        all.sort_unstable_by_key(|(place, _)| Reverse(*place));
        all.into_iter().map(|(_, refusal)| refusal.clone()).collect()
    }
}

/// What a refusal is about. Only what is known here gets a line, so nobody can make lines up.
#[derive(PartialEq, Eq)]
enum About {
    /// The account of an organization.
    Account(Organization),
    /// An account that only settings name which are not in force.
    Claimed(AccountSid),
    /// None that is known.
    Strangers,
}

/// Where refusals go.
pub struct Refusals {
    waiting: Turns<About, Option<IpAddr>, RefusedRequest>,
    kept: Mutex<HashMap<Organization, Kept>>,
    lines: Sampled<Kind>,
    /// Which requests that cannot be read are logged, by the status of the answer.
    pub untaken: Sampled<u16>,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            waiting: Turns::new(WAITING_MAX),
            kept: Mutex::default(),
            lines: Sampled::new(LINES_PER_MINUTE),
            untaken: Sampled::new(LINES_PER_MINUTE),
        }
    }
}

impl Refusals {
    /// Hands a refusal over; `pending` are the settings that are not in force. It never waits.
    pub fn report(&self, refused: RefusedRequest, pending: &[KnownPending]) {
        if refused.signature.is_empty() {
            return self.keep(&refused, None);
        }
        // Looked for in any case, so that the time of an answer tells nothing.
        let claimed = pending.iter().find(|pending| names(&refused, pending));
        let about = match (&refused.account, claimed) {
            (Some(account), _) => About::Account(account.organization.clone()),
            (None, Some(pending)) => About::Claimed(pending.account_sid.clone()),
            (None, None) => About::Strangers,
        };
        let sender = sender(refused.peer.as_deref());
        if let Some(left_out) = self.waiting.add(about, sender, refused, rand::rng().random()) {
            self.keep(&left_out, None);
        }
    }

    /// Looks into one refusal after the other. Runs until it is dropped.
    pub async fn look_into(&self, app: &App, public_url: &PublicUrl) {
        let mut look = tokio::time::interval_at(Instant::now(), LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            look.tick().await;
            let refused = self.waiting.next().await;
            let Explanation { finding, claims } = explain(app, &refused, public_url);
            if refused.account.is_some() || claims.is_empty() {
                self.keep(&refused, finding.as_ref());
            }
            for Claim { organization, account_sid, finding } in claims {
                let whose =
                    Whose { organization, account_sid: Some(account_sid), reason: NOT_IN_FORCE.to_owned() };
                self.keep_of(whose, &refused, Some(&finding));
            }
        }
    }

    /// Logs a refusal and keeps it for the organization whose account it names. What names none of ours is shown where the
    /// installation itself belongs.
    fn keep(&self, refused: &RefusedRequest, finding: Option<&Finding>) {
        let account = refused.account.as_ref();
        let whose = Whose {
            organization: account.map(|account| account.organization.clone()).unwrap_or_default(),
            account_sid: account.map(|account| account.credentials.account_sid.clone()),
            reason: refused.reason.clone(),
        };
        self.keep_of(whose, refused, finding);
    }

    fn keep_of(&self, whose: Whose, refused: &RefusedRequest, finding: Option<&Finding>) {
        let Whose { organization, account_sid, reason } = whose;
        let account_sid = account_sid.as_ref().map(AccountSid::as_str);
        let kind = Kind::of(refused, finding);
        let (cause, detail, mend) = (
            finding.map(|finding| finding.cause.as_str()),
            finding.map(|finding| finding.detail.as_str()),
            finding.map(|finding| finding.mend.as_str()),
        );
        if let Some(left_out) = self.lines.note(kind) {
            tracing::warn!(
                path = refused.path,
                status = 403,
                account_sid,
                peer = refused.peer,
                reason,
                cause,
                detail,
                mend,
                signed_by = finding.and_then(|finding| finding.other_account.as_deref()),
                left_out,
                "webhook refused"
            );
        }
        let own = |text: Option<&str>| text.map(str::to_owned);
        let kept = RefusalView {
            at: time(refused.at),
            method: refused.method.clone(),
            path: refused.path.clone(),
            account_sid: own(account_sid),
            peer: refused.peer.clone(),
            host: refused.host.as_deref().map(shown_host),
            reason,
            cause: own(cause),
            detail: own(detail),
            mend: own(mend),
        };
        self.keep_for(organization, kind, kept);
    }

    /// Keeps what is to be told to the administrators of `organization` of a webhook at a wrong URL.
    pub fn keep_misdirected(&self, organization: Organization, kept: RefusalView) {
        self.keep_for(organization, Kind::Misdirected, kept);
    }

    fn keep_for(&self, organization: Organization, kind: Kind, kept: RefusalView) {
        let mut all = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(organization).or_default().add(kind, kept);
    }
}

/// As much of a `Host` header as is kept.
pub fn shown_host(host: &str) -> String {
    host.chars().take(HOST_CHARACTERS_MAX).collect()
}

/// What was found out about a refused request.
struct Explanation {
    /// What the request would have to be for its signature to hold, by the keys of accounts in force.
    finding: Option<Finding>,
    /// Who else has signed it.
    claims: Vec<Claim>,
}

/// An organization whose saved settings, which are not in force, have signed a request.
struct Claim {
    organization: Organization,
    account_sid: AccountSid,
    finding: Finding,
}

/// Whose a refusal is, and why it is told to be one.
struct Whose {
    organization: Organization,
    account_sid: Option<AccountSid>,
    reason: String,
}

/// For which other request, or key, the signature of `refused` holds.
///
/// An organization whose settings are not in force is told what its own keys have signed, and nothing else: neither what
/// others have signed for the account that they name, nor whether anybody here has that account.
fn explain(app: &App, refused: &RefusedRequest, public_url: &PublicUrl) -> Explanation {
    let form = Form::parse(match refused.kind {
        PayloadKind::Get => b"",
        PayloadKind::Form | PayloadKind::Body => &refused.body,
    });
    let request = doctor::Refused {
        url: &public_url.of(&refused.target),
        prefix: public_url.prefix(),
        hints: Hints {
            host: refused.host.as_deref(),
            forwarded_host: refused.forwarded_host.as_deref(),
            forwarded_port: refused.forwarded_port.as_deref(),
            forwarded_prefix: refused.forwarded_prefix.as_deref(),
        },
        content: refused.kind.content(&form, &refused.body),
        signature: &refused.signature,
    };
    let (accounts, pending) = (app.accounts.all(), app.accounts.pending());
    let is_owner = |pending: &&KnownPending| {
        refused.account.as_ref().is_some_and(|account| account.organization == pending.organization)
    };
    let pending = pending.iter().filter(|pending| names(refused, pending));
    let (own, others): (Vec<_>, Vec<_>) = pending.partition(is_owner);
    let claims = some_of(&others, CLAIMS_MAX).filter_map(|pending| {
        Some(Claim {
            organization: pending.organization.clone(),
            account_sid: pending.account_sid.clone(),
            finding: doctor::diagnose(&request, &named_keys(&unconfirmed(pending), &pending.keyring))?,
        })
    });
    let claims = claims.collect();
    let mut keys = Vec::new();
    let mut add = |owner: Owner, keyring: &Keyring| keys.extend(named_keys(&owner, keyring));
    if let Some(account) = &refused.account {
        add(Owner::Account, &account.keyring);
        own.iter().for_each(|pending| add(unconfirmed(pending), &pending.keyring));
        account.retired.iter().for_each(|keyring| add(Owner::AccountBefore, keyring));
    }
    for other in some_of(&accounts, ACCOUNTS_MAX) {
        let sid = &other.credentials.account_sid;
        if refused.account.as_ref().is_none_or(|account| account.credentials.account_sid != *sid) {
            add(Owner::Other(sid.to_string()), &other.keyring);
        }
    }
    Explanation { finding: doctor::diagnose(&request, &keys), claims }
}

/// Whom what `peer` sends is counted for. Behind a reverse proxy that is the proxy for all of them, and no sender is told from
/// another.
fn sender(peer: Option<&str>) -> Option<IpAddr> {
    peer?.parse().ok().map(network_of)
}

/// Whether `refused` names the account of these settings.
fn names(refused: &RefusedRequest, pending: &KnownPending) -> bool {
    refused.claimed.as_ref().is_some_and(|claimed| is_same_account(claimed, &pending.account_sid))
}

/// At most `max` of `all`, from a place on that chance chooses: so each has its turn, however many they are.
fn some_of<T>(all: &[T], max: usize) -> impl Iterator<Item = &T> {
    let first = rand::rng().random_range(0..all.len().max(1));
    all.iter().cycle().skip(first).take(all.len().min(max))
}

fn named_keys(owner: &Owner, keyring: &Keyring) -> Vec<NamedKey> {
    let named = |(name, key): (_, &SigningKey)| NamedKey { key: key.clone(), name, owner: owner.clone() };
    keyring.keys().map(named).collect()
}

fn unconfirmed(pending: &KnownPending) -> Owner {
    Owner::Unconfirmed { is_refused: matches!(pending.verification, Verification::Refused(_)) }
}

/// The last webhooks whose signature was refused, or that came to a wrong URL.
///
/// Newest first, each with its cause and with what to change; up to 25 of each cause, of those without a signature, and of
/// those whose cause is not known, and fewest of whoever sends most. A mistake about the URL (cause `wrong_url`) is told at most
/// once in ten minutes. Saved settings that are not in force explain why the webhooks of their account are refused: they are
/// told beside, and as the cause of what is signed with their keys (`unverified_settings`, `refused_settings`).
#[utoipa::path(
    get, path = "/api/sms/webhook-refusals", tags = [operations::TAG, operations::SETUP], operation_id = "listWebhookRefusals",
    responses(ReadProblems, (status = 200, body = RefusalsView, description = "the last refusals")),
)]
pub async fn list(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let refusals = {
        let all = state.refusals.kept.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(&caller.organization).map(Kept::newest_first).unwrap_or_default()
    };
    let pending = state.app.accounts.pending();
    let own = pending.iter().find(|pending| pending.organization == caller.organization);
    let settings_not_in_force = own.map(SettingsNotInForceView::new);
    Ok(HttpResponse::Ok().json(RefusalsView { refusals, settings_not_in_force }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_sends_most_of_a_kind_makes_room_for_the_others() {
        let mut kept = Kept::default();
        let sent_by = |peer: &str| RefusalView {
            at: String::new(),
            method: String::new(),
            path: String::new(),
            account_sid: None,
            peer: Some(peer.to_owned()),
            host: None,
            reason: String::new(),
            cause: None,
            detail: None,
            mend: None,
        };
        let (twilio, other) = ("192.0.2.1", "192.0.2.2");
        for peer in [twilio, twilio, other] {
            kept.add(Kind::Unexplained, sent_by(peer));
        }
        // One network, whose owner has as many addresses as they like.
        for number in 0..100 {
            kept.add(Kind::Unexplained, sent_by(&format!("2001:db8::{number}")));
        }
        let all = kept.newest_first();
        let of = |peer: &str| all.iter().filter(|kept| kept.peer.as_deref() == Some(peer)).count();
        assert_eq!((of(twilio), of(other), all.len()), (2, 1, KEPT_MAX));
    }

    #[test]
    fn each_has_its_turn_however_many_they_are() {
        let all: Vec<usize> = (0..20).collect();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1_000 {
            let some: Vec<usize> = some_of(&all, CLAIMS_MAX).copied().collect();
            assert_eq!(some.len(), CLAIMS_MAX);
            seen.extend(some);
        }
        assert_eq!(seen.len(), all.len());
        assert!(some_of(&all[..0], CLAIMS_MAX).next().is_none());
        assert_eq!(some_of(&all[..3], CLAIMS_MAX).count(), 3);
    }
}
