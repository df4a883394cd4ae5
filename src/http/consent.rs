//! Consent: what is known of a person, how it came about, and what others record of it.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    web,
};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Declared, Fields, PersonPath, Read, Request, kinds,
        operations::{self, ReadProblems, WriteProblems},
        too_large, words,
    },
    problem::{Code, Problem},
    time, to_its_end,
};
use crate::{
    app::consents::{
        csv::{self, EVIDENCE_CHARACTERS_MAX, KEPT_MAX},
        record::{Author, Exported, Fault, Record},
    },
    domain::{
        Actor, Consent, Person,
        audit::{Action, Facts, Masked, Subject},
        consent::{ChannelConsent, ConsentChange, ConsentChannel, ConsentSource, ConsentState},
    },
    phone,
    twilio::{BareAddress, MessageSid},
};

/// The largest file that is imported at once, in bytes: some 200,000 lines.
pub const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the body of an import may take.
const IMPORT_TIME_MAX: Duration = Duration::from_secs(120);

/// Changes in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The most changes in a page: one less than the store reads at once, which tells whether there is a next page.
const LIMIT_MAX: u32 = 499;

/// A person's consent as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
pub(super) struct ConsentView {
    phone_number: String,
    channels: ChannelConsents,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentChannels)]
struct ChannelConsents {
    sms: ChannelConsentView,
    whatsapp: ChannelConsentView,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelConsent)]
struct ChannelConsentView {
    #[schema(value_type = words::ConsentState)]
    state: ConsentState,
    /// Whether Twilio refuses to send from one of our senders, or from all of them, until the person texts START to it.
    twilio_block: bool,
    /// The blocked senders and messaging services; none where Twilio did not say which.
    twilio_blocked_senders: Vec<String>,
    #[schema(value_type = Option<String>, example = "keyword")]
    source: Option<ConsentSource>,
    #[schema(format = DateTime)]
    at: Option<String>,
    #[schema(value_type = Option<String>)]
    message_sid: Option<MessageSid>,
}

impl ConsentView {
    pub(super) fn of(phone_number: String, consent: Consent) -> Self {
        let channel = |known: ChannelConsent| ChannelConsentView {
            state: known.state,
            twilio_block: !known.blocks.is_empty(),
            twilio_blocked_senders: known.blocks.names().map(str::to_owned).collect(),
            source: known.source,
            at: known.at.map(time),
            message_sid: known.message_sid,
        };
        let channels = ChannelConsents { sms: channel(consent.sms), whatsapp: channel(consent.whatsapp) };
        Self { phone_number, channels }
    }
}

/// A change as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentChange)]
struct ConsentChangeView {
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = words::ConsentChannel)]
    channel: ConsentChannel,
    #[schema(value_type = words::ConsentState)]
    state: ConsentState,
    #[schema(value_type = String, example = "keyword")]
    source: ConsentSource,
    #[schema(value_type = Option<String>)]
    message_sid: Option<MessageSid>,
    evidence: Option<String>,
    actor: Option<String>,
}

impl From<ConsentChange> for ConsentChangeView {
    fn from(ConsentChange { entry, evidence, actor }: ConsentChange) -> Self {
        Self {
            at: time(entry.at),
            channel: entry.channel,
            state: entry.state,
            source: entry.source,
            message_sid: entry.sid,
            evidence,
            actor,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentHistory)]
struct ConsentChanges {
    changes: Vec<ConsentChangeView>,
    /// How many changes belong to this page as well and cannot be read by this version.
    unreadable: usize,
    next_cursor: Option<String>,
}

/// A person's consent per channel.
///
/// `opted_out` and `twilio_block` each keep messages from being sent.
#[utoipa::path(
    get, path = "/api/sms/consent/{phone}", tags = [operations::TAG, operations::CONSENT], operation_id = "getConsent",
    params(PersonPath),
    responses(ReadProblems, (status = 200, body = ConsentView, description = "what is known")),
)]
pub async fn consent(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let phone = person_of(&state, &request)?;
    let consent = state.app.consents.of(&caller.organization).consent(&phone).await?;
    Ok(HttpResponse::Ok().json(ConsentView::of(phone.into(), consent)))
}

/// The query of `GET /api/sms/consent/{phone}/history`.
struct ChangesQuery {
    skip: usize,
    limit: u32,
}

impl Declared for ChangesQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let skip = fields.optional("cursor", "`next_cursor` of the page before.", kinds::offset(9));
        let limit =
            fields.with_default("limit", "Changes in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        Ok(Self { skip: skip?.unwrap_or_default(), limit: limit? })
    }
}

contract::parameters!(Query: ChangesQuery);

/// Every change of a person's consent, oldest first.
///
/// Changes are never rewritten. A page at a time: ask again with `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/consent/{phone}/history", tags = [operations::TAG, operations::CONSENT], operation_id = "getConsentHistory",
    params(PersonPath, ChangesQuery),
    responses(ReadProblems, (status = 200, body = ConsentChanges, description = "the changes")),
)]
pub async fn history(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let phone = person_of(&state, &request)?;
    let ChangesQuery { skip, limit } = contract::query(&request, &state.context())?;
    let limit = limit as usize;
    // One more than wanted tells whether there is a next page.
    let mut changes =
        state.app.consents.of(&caller.organization).consent_changes(&phone, skip, limit + 1).await?;
    let next_cursor = (changes.len() > limit).then(|| (skip + limit).to_string());
    changes.truncate(limit);
    let unreadable = changes.iter().filter(|change| change.is_err()).count();
    let changes = changes.into_iter().flatten().map(ConsentChangeView::from).collect();
    Ok(HttpResponse::Ok().json(ConsentChanges { changes, unreadable, next_cursor }))
}

/// A request to record a person's wish.
pub struct ConsentRequest {
    phone_number: String,
    channel: ConsentChannel,
    wish: ConsentState,
    source: ConsentSource,
    evidence: Option<String>,
}

impl Request for ConsentRequest {
    const NAME: &'static str = "ConsentRequest";
    const MEANING: &'static str = "A person's wish.";

    fn example() -> Option<Value> {
        Some(json!({
            "phone_number": "+14155552671",
            "channel": "sms",
            "state": "opted_in",
            "evidence": "signed form of 2026-01-31",
        }))
    }
}

impl Declared for ConsentRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let phone_number = fields.required("phone_number", "The person.", kinds::typed_phone_number());
        let channel = fields.required("channel", "Which channel.", kinds::word::<words::ConsentChannel>());
        let wish = fields.required("state", "What they wish.", kinds::word::<words::Wish>());
        let source = fields.optional(
            "source",
            "How it came to you; `api` if left out.",
            kinds::word::<words::ClaimedSource>(),
        );
        let evidence =
            fields.optional("evidence", "What shows it.", kinds::text(0..=EVIDENCE_CHARACTERS_MAX));
        Ok(Self {
            phone_number: phone_number?,
            channel: match channel? {
                words::ConsentChannel::Sms => ConsentChannel::Sms,
                words::ConsentChannel::Whatsapp => ConsentChannel::Whatsapp,
                words::ConsentChannel::All => ConsentChannel::All,
            },
            wish: match wish? {
                words::Wish::OptedIn => ConsentState::OptedIn,
                words::Wish::OptedOut => ConsentState::OptedOut,
            },
            source: match source?.unwrap_or(words::ClaimedSource::Api) {
                words::ClaimedSource::Api => ConsentSource::Api,
                words::ClaimedSource::Import => ConsentSource::Import,
                words::ClaimedSource::Preferences => ConsentSource::Preferences,
                words::ClaimedSource::Link => ConsentSource::Link,
            },
            evidence: evidence?.filter(|evidence| !evidence.trim().is_empty()),
        })
    }
}

contract::request_body!(ConsentRequest);

/// Records a person's wish.
///
/// It changes what textledger knows alone: Twilio's own block is lifted only by the person, who texts START. An opt-in of
/// a person who has opted out in their own words is refused with `opted_out_by_person`, unless an administrator records
/// it with `evidence`.
#[utoipa::path(
    post, path = "/api/sms/consent", tags = [operations::TAG, operations::CONSENT], operation_id = "recordConsent",
    request_body = ConsentRequest,
    responses(WriteProblems, (status = 200, body = ConsentView, description = "what is known now")),
)]
pub async fn record(state: web::Data<State>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let request: ConsentRequest = body.read(&state.context())?;
    let phone = number(&state, &request.phone_number)?;
    let ConsentRequest { channel, wish, source, .. } = request;
    let record =
        Record { phone: phone.clone(), channel, state: wish, source, evidence: request.evidence, at: None };
    to_its_end(async move {
        let actor = Actor::of(caller.role, record.evidence.is_some());
        let author = Author { actor, name: Some(caller.name()) };
        let facts = Facts {
            channel: Some(channel.as_str().to_owned()),
            state: Some(wish.as_str().to_owned()),
            source: Some(source.as_str().to_owned()),
            ..Facts::default()
        };
        let entry = caller.origin().entry(Action::ConsentChange).with(facts);
        let entry = entry.about(Subject::Person(Masked::of(&phone)));
        let consents = state.app.consents.of(&caller.organization);
        let consent = consents.record_consent(&record, author, &entry).await?;
        Ok(HttpResponse::Ok().json(ConsentView::of(phone.into(), consent)))
    })
    .await
}

/// Everybody's consent as CSV.
///
/// A line per person and channel, in the form that the import takes.
#[utoipa::path(
    get, path = "/api/sms/consent/export", tags = [operations::TAG, operations::CONSENT], operation_id = "exportConsent",
    responses(ReadProblems, (status = 200, body = String, content_type = "text/csv", description = "a line per person and channel")),
)]
pub async fn export(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    // The first page is read before anything is answered: a store that is away is a 503 and no broken file.
    let first = state.app.consents.of(&caller.organization).export_consent(None).await?;
    let entry = caller.origin().entry(Action::ConsentExport);
    state.app.audit.of(&caller.organization).record(entry).await?;
    let begun = stream::once(async { Ok::<_, Broken>(Bytes::from(csv::header())) });
    let pages = stream::try_unfold(Some(ExportPage::Read(first)), move |page| {
        let (state, organization) = (state.clone(), caller.organization.clone());
        async move {
            let (lines, next) = match page {
                None => return Ok(None),
                Some(ExportPage::Read(page)) => page,
                Some(ExportPage::After(after)) => {
                    let page = state.app.consents.of(&organization).export_consent(Some(&after)).await;
                    page.map_err(|error| {
                        tracing::error!(%error, "an export broke off");
                        Broken
                    })?
                }
            };
            Ok(Some((Bytes::from(csv::write(&lines)), next.map(ExportPage::After))))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8; header=present")
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"consent.csv\""))
        .streaming(futures_util::StreamExt::chain(begun, pages)))
}

/// A page of an export: read already, or to be read.
enum ExportPage {
    Read((Vec<Exported>, Option<Person>)),
    After(Person),
}

/// What ends a file that breaks off: the connection, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the store failed in the middle of an answer")]
struct Broken;

/// A line of an import that changed nothing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportError)]
struct LineLeftOut {
    /// The line on which its record begins; the header is line 1.
    line: u64,
    detail: String,
}

impl From<Fault> for LineLeftOut {
    fn from(Fault { line, detail }: Fault) -> Self {
        Self { line, detail }
    }
}

/// What an import has come to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentImported)]
struct Imported {
    imported: usize,
    unchanged: usize,
    rejected: usize,
    /// How many lines would have undone what a person said.
    kept: usize,
    /// The first 1,000 bad lines.
    errors: Vec<LineLeftOut>,
    /// The first 5,000 lines that would have undone what a person said.
    kept_opt_out: Vec<LineLeftOut>,
}

/// Applies the good lines of a CSV file.
///
/// Bad lines are listed by number and change nothing. So are lines that would take back an opt-out in a person's own
/// words, as `kept_opt_out`. Importing the same file again changes nothing either.
#[utoipa::path(
    post, path = "/api/sms/consent/import", tags = [operations::TAG, operations::CONSENT], operation_id = "importConsent",
    request_body(content = String, content_type = "text/csv", description = "columns phone_number, channel, state, source, at, evidence; the first three are needed", example = json!("phone_number,channel,state,source,at,evidence\n+14155552673,sms,opted_out,import,2026-01-31T09:00:00Z,list of 2026\n")),
    responses(WriteProblems, (status = 200, body = Imported, description = "what came of it")),
)]
pub async fn import(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let essence = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = essence.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("text/csv") {
        let mend = "send Content-Type: text/csv";
        return Err(Problem::new(Code::UnsupportedMediaType, "the body is not declared as CSV", mend));
    }
    let under_way = state.heavy.begin_import(&caller.organization)?;
    let unreadable = || Problem::new(Code::BadRequest, "the body could not be read", "send it again");
    let body = tokio::time::timeout(IMPORT_TIME_MAX, payload.to_bytes_limited(IMPORT_BYTES_MAX)).await;
    let body = body.map_err(|_| {
        let detail = format!("the body took longer than {} s", IMPORT_TIME_MAX.as_secs());
        Problem::new(Code::RequestTimeout, detail, "send it again, or in parts")
    })?;
    let body = body.map_err(|_| too_large(IMPORT_BYTES_MAX))?.map_err(|_| unreadable())?;
    let region = state.app.settings().default_region;
    let now = state.app.now_ms();
    let queued = state.heavy.queue(&caller.organization, body.len())?;
    let read = queued.run(move || async move { csv::read(&body, region, now) }).await;
    drop(queued);
    let read = read.map_err(|error| Problem::invalid_field("body", error.to_string()))?;
    to_its_end(async move {
        // Not among what is heavy: it mostly waits for the store, for as long as a file is, and others would wait for it.
        let consents = state.app.consents.of(&caller.organization);
        let done =
            consents.import_consent(&caller.origin(), caller.name(), read.records, Some(read.faulty)).await?;
        drop(under_way);
        Ok(HttpResponse::Ok().json(Imported {
            imported: done.applied,
            unchanged: done.unchanged,
            rejected: read.faulty,
            kept: done.kept.len(),
            errors: read.faults.into_iter().map(LineLeftOut::from).collect(),
            kept_opt_out: done.kept.into_iter().take(KEPT_MAX).map(LineLeftOut::from).collect(),
        }))
    })
    .await
}

/// The person that the path names.
fn person_of(state: &State, request: &HttpRequest) -> Result<BareAddress, Problem> {
    let path: PersonPath = contract::path(request)?;
    number(state, &path.phone)
}

/// A number of the path or of a field.
fn number(state: &State, typed: &str) -> Result<BareAddress, Problem> {
    phone::person(typed, state.app.settings().default_region).map_err(Problem::invalid_phone_number)
}
