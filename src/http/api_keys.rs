//! API keys of an organization, made, listed, rotated and revoked by its administrators.

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, http::header::CACHE_CONTROL, web};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Declared, Fields, Read, Request, kinds,
        operations::{self, ReadProblems, WriteProblems},
        words,
    },
    problem::Problem,
    time, to_its_end,
};
use crate::{
    app::api_keys::{KeyError, ListedKey, ListedKeys},
    domain::{
        KeySid, NewKey, StoredKey,
        stored_key::{NAME_CHARACTERS_MAX, OVERLAP_MAX},
    },
};

/// Keys in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The most keys in a page.
const LIMIT_MAX: u32 = 500;

/// The farthest expiry of a key: whatever is to last longer is rotated in between, or does not expire.
const LIFE_MAX: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

/// The highest daily limit of a key, which holds back nobody.
const DAILY_LIMIT_MAX: u32 = 1_000_000_000;

/// [`OVERLAP_MAX`] in seconds.
const OVERLAP_MAX_S: u32 = OVERLAP_MAX.as_secs() as u32;

/// An API key with its secret, which is not told again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NewApiKey)]
struct NewKeyView {
    #[schema(example = "SK0123456789abcdef0123456789abcdef")]
    sid: String,
    /// What signs requests in: as a bearer token, or for Twilio's libraries as the password of the user `sid`.
    secret: String,
    name: String,
    #[schema(value_type = words::Role)]
    role: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    daily_limit: Option<u64>,
}

impl NewKeyView {
    fn of(key: StoredKey, secret: &SecretString) -> Self {
        Self {
            sid: key.sid.into(),
            secret: secret.expose_secret().to_owned(),
            name: key.name,
            role: key.role.as_str(),
            created_at: time(key.created_at),
            expires_at: key.expires_at.map(time),
            daily_limit: key.daily_limit,
        }
    }
}

/// An API key, without its secret.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKey)]
struct KeyView {
    #[schema(example = "SK0123456789abcdef0123456789abcdef")]
    sid: String,
    name: String,
    #[schema(value_type = words::Role)]
    role: &'static str,
    #[schema(format = DateTime)]
    created_at: String,
    /// Who made it.
    #[schema(example = "user:ada")]
    created_by: String,
    #[schema(format = DateTime)]
    expires_at: Option<String>,
    /// To the minute.
    #[schema(format = DateTime)]
    last_used_at: Option<String>,
    #[schema(format = DateTime)]
    revoked_at: Option<String>,
    /// How many messages it may ask for in a day (UTC); null if the service's limit for each caller holds.
    daily_limit: Option<u64>,
}

impl From<ListedKey> for KeyView {
    fn from(ListedKey { key, last_used_at }: ListedKey) -> Self {
        Self {
            sid: key.sid.to_string(),
            name: key.name.clone(),
            role: key.role.as_str(),
            created_at: time(key.created_at),
            created_by: key.created_by.to_string(),
            expires_at: key.expires_at.map(time),
            last_used_at: last_used_at.map(time),
            revoked_at: key.revoked_at.map(time),
            daily_limit: key.daily_limit,
        }
    }
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApiKeys)]
struct KeysPage {
    api_keys: Vec<KeyView>,
    /// How many of the organization's keys cannot be read by this version, and are on no page. They are good where they can be.
    unreadable: usize,
    next_cursor: Option<String>,
}

/// The query of `GET /api/sms/api-keys`.
struct KeysQuery {
    cursor: Option<KeySid>,
    limit: u32,
}

impl Declared for KeysQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let cursor = fields.optional("cursor", "`next_cursor` of the page before.", kinds::cursor());
        let limit =
            fields.with_default("limit", "Keys in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        Ok(Self { cursor: cursor?, limit: limit? })
    }
}

/// A path that names a key.
struct KeyPath {
    name: String,
}

impl Declared for KeyPath {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        Ok(Self { name: fields.required("sid", "The key's SID.", kinds::any_text())? })
    }
}

contract::parameters!(Query: KeysQuery);
contract::parameters!(Path: KeyPath);

/// A key to be made.
pub struct KeyRequest(NewKey);

impl Request for KeyRequest {
    const NAME: &'static str = "ApiKeyRequest";
    const MEANING: &'static str = "An API key to be made.";

    fn example() -> Option<Value> {
        Some(json!({ "name": "crm", "role": "sender" }))
    }
}

impl Declared for KeyRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "What people call it: the service that uses it.";
        let name = fields.required("name", meaning, kinds::name(NAME_CHARACTERS_MAX, "crm"));
        let role = fields.required("role", "What it may do.", kinds::word::<words::Role>());
        let meaning = "From when on it is not good any more; left out, it is good until it is revoked.";
        let expires_at = fields.optional("expires_at", meaning, kinds::time_within(Duration::ZERO, LIFE_MAX));
        let meaning =
            "How many messages it may ask for in a day (UTC); left out, the limit for each caller holds.";
        let daily_limit = fields.optional("daily_limit", meaning, kinds::number(1..=DAILY_LIMIT_MAX));
        let (name, role) = (name?, role?.into());
        let daily_limit = daily_limit?.map(u64::from);
        Ok(Self(NewKey { name, role, expires_at: expires_at?, daily_limit }))
    }
}

/// How a key is rotated.
pub struct RotationRequest {
    overlap: Duration,
    daily_limit: Option<u64>,
}

impl Request for RotationRequest {
    const NAME: &'static str = "ApiKeyRotationRequest";
    const MEANING: &'static str = "How an API key is rotated.";

    fn example() -> Option<Value> {
        Some(json!({ "overlap_s": 3600 }))
    }
}

impl Declared for RotationRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let meaning = "For how many seconds the secret before stays good; 0 ends it at once.";
        let overlap = fields.with_default("overlap_s", meaning, 0, kinds::number(0..=OVERLAP_MAX_S));
        let meaning = "How many messages it may ask for in a day (UTC); left out, that stays as it is.";
        let daily_limit = fields.optional("daily_limit", meaning, kinds::number(1..=DAILY_LIMIT_MAX));
        let overlap = Duration::from_secs(overlap?.into());
        Ok(Self { overlap, daily_limit: daily_limit?.map(u64::from) })
    }
}

contract::request_body!(KeyRequest, RotationRequest);

/// The organization's API keys.
///
/// By SID, without their secrets; those that have expired or were revoked lately too. A page at a time: ask again with
/// `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/api-keys", tags = [operations::TAG, operations::SETUP], operation_id = "listApiKeys",
    params(KeysQuery),
    responses(ReadProblems, (status = 200, body = KeysPage, description = "the keys")),
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let KeysQuery { cursor, limit } = contract::query(&request, &state.context())?;
    let keys = state.app.api_keys.of(&caller.organization);
    let ListedKeys { keys, unreadable, is_more } = keys.list(cursor.as_ref(), limit as usize).await?;
    let next_cursor = keys.last().filter(|_| is_more).map(|last| last.key.sid.to_string());
    let api_keys = keys.into_iter().map(KeyView::from).collect();
    Ok(HttpResponse::Ok().json(KeysPage { api_keys, unreadable, next_cursor }))
}

/// Makes an API key.
///
/// The answer holds its secret, which is stored nowhere and never told again. It signs in as a bearer token, and to the
/// drop-in with the key's SID, or the account's, as user name.
#[utoipa::path(
    post, path = "/api/sms/api-keys", tags = [operations::TAG, operations::SETUP], operation_id = "createApiKey",
    request_body = KeyRequest,
    responses(WriteProblems, (status = 201, body = NewKeyView, description = "the key and its secret")),
)]
pub async fn create(state: web::Data<State>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let KeyRequest(new) = body.read(&state.context())?;
    to_its_end(async move {
        let keys = state.app.api_keys.of(&caller.organization);
        let (key, secret) = keys.create(&caller.origin(), new).await?;
        Ok(told_once(HttpResponse::Created(), NewKeyView::of(key, &secret)))
    })
    .await
}

/// Gives an API key another secret.
///
/// The answer holds it this one time. The secret before stays good for `overlap_s`, so that it can be changed everywhere
/// without a gap; an older one ends at once.
#[utoipa::path(
    post, path = "/api/sms/api-keys/{sid}/rotate", tags = [operations::TAG, operations::SETUP],
    operation_id = "rotateApiKey",
    params(KeyPath), request_body = RotationRequest,
    responses(WriteProblems, (status = 200, body = NewKeyView, description = "the key and its new secret")),
)]
pub async fn rotate(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let sid = sid(&request)?;
    let RotationRequest { overlap, daily_limit } = body.read(&state.context())?;
    to_its_end(async move {
        let keys = state.app.api_keys.of(&caller.organization);
        let (key, secret) = keys.rotate(&caller.origin(), &sid, overlap, daily_limit).await?;
        Ok(told_once(HttpResponse::Ok(), NewKeyView::of(key, &secret)))
    })
    .await
}

/// Revokes an API key.
///
/// It signs nobody in any more: here at once, on every other instance within a second.
#[utoipa::path(
    delete, path = "/api/sms/api-keys/{sid}", tags = [operations::TAG, operations::SETUP], operation_id = "revokeApiKey",
    params(KeyPath),
    responses(ReadProblems, (status = 204, description = "it is revoked")),
)]
pub async fn revoke(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let sid = sid(&request)?;
    to_its_end(async move {
        state.app.api_keys.of(&caller.organization).revoke(&caller.origin(), &sid).await?;
        Ok(HttpResponse::NoContent().finish())
    })
    .await
}

/// An answer with a secret, which nobody on its way may keep.
fn told_once(mut answer: HttpResponseBuilder, key: NewKeyView) -> HttpResponse {
    answer.insert_header((CACHE_CONTROL, "no-store")).json(key)
}

fn sid(request: &HttpRequest) -> Result<KeySid, Problem> {
    let KeyPath { name } = contract::path(request)?;
    Ok(KeySid::parse(&name).map_err(|_| KeyError::Unknown)?)
}
