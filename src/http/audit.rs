//! Who did what, for administrators.

use std::borrow::Cow;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, Read, kinds,
        operations::{self, ReadProblems},
        words::Words,
    },
    problem::Problem,
    time,
};
use crate::{
    app::audit::EntryFilter,
    domain::audit::{Action, Place, RecordedEntry},
};

/// Entries in a page, unless the caller asks for fewer or more.
const LIMIT_DEFAULT: u32 = 100;

/// The most entries in a page: one less than the store reads at once, which tells whether there is a next page.
const LIMIT_MAX: u32 = 499;

/// The query of `GET /api/sms/audit`.
struct AuditQuery {
    filter: EntryFilter,
    limit: u32,
    cursor: Option<Place>,
}

impl Declared for AuditQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let actor = fields.optional("actor", "Only what they did, such as `user:ada`.", kinds::any_text());
        let action = fields.optional("action", "Only this.", kinds::word::<Action>());
        let since =
            fields.optional("since", "Only what was done at this time (RFC 3339) or later.", kinds::time());
        let until =
            fields.optional("until", "Only what was done before this time (RFC 3339).", kinds::time());
        let limit =
            fields.with_default("limit", "Entries in a page.", LIMIT_DEFAULT, kinds::number(1..=LIMIT_MAX));
        let cursor = fields.optional(
            "cursor",
            "`next_cursor`, or the `id` of an entry: what came after it.",
            kinds::cursor(),
        );
        let filter = EntryFilter { actor: actor?, action: action?, since: since?, until: until? };
        Ok(Self { filter, limit: limit?, cursor: cursor? })
    }
}

contract::parameters!(Query: AuditQuery);

impl Words for Action {
    const NAME: &'static str = "AuditAction";
    const MEANING: &'static str = "What was done.";
    const ALL: &'static [(Self, &'static str, &'static str)] = &{
        let mut words = [(Action::MessageSend, "", ""); Action::ALL.len()];
        let mut index = 0;
        while index < words.len() {
            let action = Action::ALL[index];
            words[index] = (action, action.as_str(), action.meaning());
            index += 1;
        }
        words
    };
}

impl utoipa::PartialSchema for Action {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        serde_json::from_value(<Self as Words>::schema()).expect("what describes words is a schema")
    }
}

impl ToSchema for Action {
    fn name() -> Cow<'static, str> {
        <Self as Words>::NAME.into()
    }
}

/// Something that was done, as the API shows it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AuditEntry)]
struct EntryView {
    /// Its place in the record, usable as `cursor`.
    #[schema(example = "1764000000000-0-0")]
    id: String,
    #[schema(format = DateTime)]
    at: String,
    /// Who did it: `user:`, `api_key:` or `command:` and their name, or `person` for a person by a link of their own.
    #[schema(example = "user:ada")]
    actor: String,
    /// One of `AuditAction`, or what an instance of a later version has written.
    #[schema(example = "message.send")]
    action: String,
    /// What it was done to: the id of a message or batch, a reply's or an API key's SID, a user, or the ends of a person's number.
    subject: Option<String>,
    /// What else is known of it: words, counts and names of fields.
    detail: serde_json::Map<String, serde_json::Value>,
    /// The `X-Request-Id` that the caller was answered with; null where requests have none.
    request_id: Option<String>,
}

impl EntryView {
    fn of(place: Place, entry: RecordedEntry) -> Self {
        let RecordedEntry { agent, action, subject, facts, request_id } = entry;
        Self {
            id: place.to_string(),
            at: time(place.ms),
            actor: agent,
            action,
            subject,
            detail: facts,
            request_id,
        }
    }
}

/// A page of the audit, oldest first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
struct AuditPage {
    entries: Vec<EntryView>,
    /// Null at the end.
    next_cursor: Option<String>,
}

/// Who did what, oldest first.
///
/// Every send, batch, notice, change of consent, decision, change of preferences, settings and API keys that was accepted,
/// with who asked for it. Entries are never changed or taken away, and hold no secret, no text of a message and no whole number
/// of a person. A page at a time: ask again with `next_cursor` as `cursor` until it is null.
#[utoipa::path(
    get, path = "/api/sms/audit", tags = [operations::TAG, operations::SETUP], operation_id = "listAudit", params(AuditQuery),
    responses(ReadProblems, (status = 200, body = AuditPage, description = "what was done, oldest first")),
)]
pub async fn list(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let AuditQuery { filter, limit, cursor } = contract::query(&request, &state.context())?;
    let audit = state.app.audit.of(&caller.organization);
    let (entries, next) = audit.entries(&filter, cursor, limit as usize).await?;
    let entries = entries.into_iter().map(|(place, entry)| EntryView::of(place, entry)).collect();
    let next_cursor = next.map(|next| next.to_string());
    Ok(HttpResponse::Ok().json(AuditPage { entries, next_cursor }))
}
