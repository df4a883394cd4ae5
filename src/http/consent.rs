//! Consent: what is known of a person, how it came about, and what others record of it.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    web,
};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    State,
    auth::{Caller, Right},
    fields::{Fields, too_large},
    messages,
    openapi::{self, ReadProblems, WriteProblems},
    problem::{Code, Problem},
    query, time,
};
use crate::{
    app::consents::{
        csv::{self, EVIDENCE_CHARACTERS_MAX},
        record::{Exported, Record},
    },
    domain::{
        Consent,
        consent::{ChannelConsent, ConsentChange, ConsentChannel, ConsentSource, ConsentState},
    },
    phone,
    twilio::{BareAddress, MessageSid, address::mask},
};

/// The largest file that is imported at once, in bytes: some 200,000 lines.
pub const IMPORT_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How long the body of an import may take.
const IMPORT_TIME_MAX: Duration = Duration::from_secs(120);

/// Changes in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: usize = 100;

/// A person's consent as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Consent)]
struct Shown {
    phone_number: String,
    channels: Channels,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentChannels)]
struct Channels {
    sms: Channel,
    whatsapp: Channel,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ChannelConsent)]
struct Channel {
    #[schema(value_type = openapi::ConsentState)]
    state: ConsentState,
    /// Whether Twilio refuses to send until the person texts START.
    twilio_block: bool,
    #[schema(value_type = Option<String>, example = "keyword")]
    source: Option<ConsentSource>,
    #[schema(format = DateTime)]
    at: Option<String>,
    #[schema(value_type = Option<String>)]
    message_sid: Option<MessageSid>,
}

impl Shown {
    fn of(phone_number: String, consent: Consent) -> Self {
        let channel = |known: ChannelConsent| Channel {
            state: known.state,
            twilio_block: known.twilio_block,
            source: known.source,
            at: known.at.map(time),
            message_sid: known.message_sid,
        };
        let channels = Channels { sms: channel(consent.sms), whatsapp: channel(consent.whatsapp) };
        Self { phone_number, channels }
    }
}

/// A change as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentChange)]
struct Change {
    #[schema(format = DateTime)]
    at: String,
    #[schema(value_type = openapi::ConsentChannel)]
    channel: ConsentChannel,
    #[schema(value_type = openapi::ConsentState)]
    state: ConsentState,
    #[schema(value_type = String, example = "keyword")]
    source: ConsentSource,
    #[schema(value_type = Option<String>)]
    message_sid: Option<MessageSid>,
    evidence: Option<String>,
    actor: Option<String>,
}

impl From<ConsentChange> for Change {
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
struct Changes {
    changes: Vec<Change>,
    next_cursor: Option<String>,
}

/// A person's consent per channel.
///
/// `opted_out` and `twilio_block` each keep messages from being sent.
#[utoipa::path(
    get, path = "/api/sms/consent/{phone}", tags = [openapi::TAG, openapi::CONSENT], operation_id = "getConsent",
    params(("phone" = String, Path, description = "a number in E.164, or of the default region", example = "+14155552671")),
    responses(ReadProblems, (status = 200, body = Shown, description = "what is known")),
)]
pub async fn consent(
    state: web::Data<State>,
    caller: Caller,
    phone: web::Path<String>,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let phone = number(&state, &phone)?;
    let consent = state.app.consents.of(&caller.organization).consent(&phone).await?;
    Ok(HttpResponse::Ok().json(Shown::of(phone.into(), consent)))
}

/// The query of `GET /api/sms/consent/{phone}/history`.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Query {
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>, pattern = "^[0-9]{1,9}$")]
    cursor: Option<u32>,
    /// Changes in a page.
    #[param(minimum = 1, maximum = 499)]
    limit: Option<usize>,
}

/// Every change of a person's consent, oldest first.
///
/// Changes are never rewritten. A page at a time: ask again with `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/consent/{phone}/history", tags = [openapi::TAG, openapi::CONSENT], operation_id = "getConsentHistory",
    params(("phone" = String, Path, description = "a number in E.164, or of the default region", example = "+14155552671"), Query),
    responses(ReadProblems, (status = 200, body = Changes, description = "the changes")),
)]
pub async fn history(
    state: web::Data<State>,
    caller: Caller,
    phone: web::Path<String>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Read)?;
    let phone = number(&state, &phone)?;
    let query: Query = query::read(&request)?;
    let skip = query.cursor.unwrap_or(0) as usize;
    let limit = query::limit(query.limit, LIMIT_DEFAULT, messages::LIMIT_MAX - 1)?;
    // One more than wanted tells whether there is a next page.
    let mut changes =
        state.app.consents.of(&caller.organization).consent_changes(&phone, skip, limit + 1).await?;
    let next_cursor = (changes.len() > limit).then(|| (skip + limit).to_string());
    changes.truncate(limit);
    let changes = changes.into_iter().map(Change::from).collect();
    Ok(HttpResponse::Ok().json(Changes { changes, next_cursor }))
}

/// Records a person's wish.
///
/// It changes what textledger knows alone: Twilio's own block is lifted only by the person, who texts START.
#[utoipa::path(
    post, path = "/api/sms/consent", tags = [openapi::TAG, openapi::CONSENT], operation_id = "recordConsent",
    request_body = openapi::ConsentRequest,
    responses(WriteProblems, (status = 200, body = Shown, description = "what is known now")),
)]
pub async fn record(
    state: web::Data<State>,
    caller: Caller,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let typed = fields.require_text("phone_number");
    let channel =
        fields.require("channel", |text| ConsentChannel::parse(text).ok_or("must be sms, whatsapp or all"));
    let wish = fields.require("state", |text| {
        ConsentState::parse(text)
            .filter(|state| matches!(state, ConsentState::OptedIn | ConsentState::OptedOut))
            .ok_or("must be opted_in or opted_out")
    });
    let source = fields.take("source", |text| {
        ConsentSource::parse(text)
            .filter(|source| !source.is_the_persons() || *source == ConsentSource::Link)
            .ok_or("must be api, import, preferences or link")
    });
    let evidence = fields.take_text("evidence").filter(|evidence| !evidence.is_empty());
    if evidence.as_deref().is_some_and(|evidence| evidence.chars().count() > EVIDENCE_CHARACTERS_MAX) {
        fields.fault("evidence", format!("must have at most {EVIDENCE_CHARACTERS_MAX} characters"));
    }
    fields.finish()?;
    let (Some(channel), Some(wish)) = (channel, wish) else { unreachable!("a missing field is a fault") };
    let phone = number(&state, &typed)?;
    let source = source.unwrap_or(ConsentSource::Api);
    let record = Record { phone: phone.clone(), channel, state: wish, source, evidence, at: None };
    let consent = state.app.consents.of(&caller.organization).record_consent(&record, &caller.user).await?;
    tracing::info!(
        event = "audit", action = "consent.recorded", organization = %caller.organization, actor = caller.user,
        phone = mask(&phone), channel = channel.as_str(), state = wish.as_str(), source = source.as_str(),
        "consent recorded"
    );
    Ok(HttpResponse::Ok().json(Shown::of(phone.into(), consent)))
}

/// Everybody's consent as CSV.
///
/// A line per person and channel, in the form that the import takes.
#[utoipa::path(
    get, path = "/api/sms/consent/export", tags = [openapi::TAG, openapi::CONSENT], operation_id = "exportConsent",
    responses(ReadProblems, (status = 200, body = String, content_type = "text/csv", description = "a line per person and channel")),
)]
pub async fn export(state: web::Data<State>, caller: Caller) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    tracing::info!(
        event = "audit", action = "consent.exported", organization = %caller.organization, actor = caller.user,
        "consent exported"
    );
    // The first page is read before anything is answered: a store that is away is a 503 and no broken file.
    let first = state.app.consents.of(&caller.organization).export_consent(None).await?;
    let begun = stream::once(async { Ok::<_, Broken>(Bytes::from(csv::header())) });
    let pages = stream::try_unfold(Some(Page::Read(first)), move |page| {
        let (state, organization) = (state.clone(), caller.organization.clone());
        async move {
            let (lines, next) = match page {
                None => return Ok(None),
                Some(Page::Read(page)) => page,
                Some(Page::After(after)) => {
                    let page = state.app.consents.of(&organization).export_consent(Some(&after)).await;
                    page.map_err(|error| {
                        tracing::error!(%error, "an export broke off");
                        Broken
                    })?
                }
            };
            Ok(Some((Bytes::from(csv::write(&lines)), next.map(Page::After))))
        }
    });
    Ok(HttpResponse::Ok()
        .content_type("text/csv; charset=utf-8; header=present")
        .insert_header((CONTENT_DISPOSITION, "attachment; filename=\"consent.csv\""))
        .streaming(futures_util::StreamExt::chain(begun, pages)))
}

/// A page of an export: read already, or to be read.
enum Page {
    Read((Vec<Exported>, Option<BareAddress>)),
    After(BareAddress),
}

/// What ends a file that breaks off: the connection, so that nobody takes it for whole.
#[derive(Debug, thiserror::Error)]
#[error("the store failed in the middle of an answer")]
struct Broken;

/// A bad line of an import.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportError)]
struct BadLine {
    line: u64,
    detail: String,
}

/// What an import has come to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentImported)]
struct Imported {
    imported: usize,
    unchanged: usize,
    rejected: usize,
    errors: Vec<BadLine>,
}

/// Applies the good lines of a CSV file.
///
/// Bad lines are listed by number and change nothing. Importing the same file again changes nothing either.
#[utoipa::path(
    post, path = "/api/sms/consent/import", tags = [openapi::TAG, openapi::CONSENT], operation_id = "importConsent",
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
    let unreadable = || Problem::new(Code::BadRequest, "the body could not be read", "send it again");
    let body = tokio::time::timeout(IMPORT_TIME_MAX, payload.to_bytes_limited(IMPORT_BYTES_MAX)).await;
    let body = body.map_err(|_| {
        let detail = format!("the body took longer than {} s", IMPORT_TIME_MAX.as_secs());
        Problem::new(Code::RequestTimeout, detail, "send it again, or in parts")
    })?;
    let body = body.map_err(|_| too_large(IMPORT_BYTES_MAX))?.map_err(|_| unreadable())?;
    let region = state.app.settings().default_region;
    let read = csv::read(&body, region, state.app.now_ms())
        .map_err(|error| Problem::invalid_field("body", error.to_string()))?;
    let done = state.app.consents.of(&caller.organization).import_consent(read.records, &caller.user).await?;
    tracing::info!(
        event = "audit", action = "consent.imported", organization = %caller.organization, actor = caller.user,
        imported = done.applied, unchanged = done.unchanged, rejected = read.faulty, "consent imported"
    );
    let errors = read.faults.into_iter().map(|fault| BadLine { line: fault.line, detail: fault.detail });
    Ok(HttpResponse::Ok().json(Imported {
        imported: done.applied,
        unchanged: done.unchanged,
        rejected: read.faulty,
        errors: errors.collect(),
    }))
}

/// A number of the path or of a field.
fn number(state: &State, typed: &str) -> Result<BareAddress, Problem> {
    let bare = typed.strip_prefix("whatsapp:").unwrap_or(typed);
    phone::normalize(bare, state.app.settings().default_region).map_err(Problem::invalid_phone_number)
}
