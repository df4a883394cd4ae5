//! Persons: the erasure of what is known of one.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, PersonPath, Read, kinds,
        operations::{self, ReadProblems},
        words,
    },
    problem::Problem,
    to_its_end,
};
use crate::{
    app::erasure::{Erased, ErasureStep},
    domain::{EventId, consent::ConsentChannel},
    phone,
};

/// What a step of an erasure has come to.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erasure)]
struct ErasureView {
    erased: ErasedView,
    /// Messages to the person that are on their way to Twilio, and stay until it is known whether it has them: erase again
    /// then.
    on_their_way: usize,
    /// Records that cannot be read, of which nobody knows whether they are the person's.
    unreadable: usize,
    /// Whether this service holds what Twilio told while the store was away, which may be of the person: erase again then.
    spooled: bool,
    /// The channels of which something stays to be obeyed, under a keyed hash of the number; told by the last step.
    #[schema(value_type = Vec<words::ConsentChannel>)]
    kept: Vec<ConsentChannel>,
    /// Where the next step begins: ask again with it as `cursor` until it is null.
    next_cursor: Option<String>,
}

/// What was erased, by kind.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Erased)]
struct ErasedView {
    /// Messages to the person, with their texts and all that Twilio told of them.
    messages: usize,
    /// Entries of the streams.
    events: usize,
    /// Changes in the history of their consent.
    consent_changes: usize,
    /// Replies that were under review, with their words.
    reviews: usize,
    /// Users' preferences with their number.
    preferences: usize,
    /// Other names, as WhatsApp's user ids, that led to them.
    names: usize,
}

impl From<ErasureStep> for ErasureView {
    fn from(step: ErasureStep) -> Self {
        let Erased { messages, events, consent_changes, reviews, preferences, names } = step.erased;
        Self {
            erased: ErasedView { messages, events, consent_changes, reviews, preferences, names },
            on_their_way: step.on_their_way,
            unreadable: step.unreadable,
            spooled: step.is_spooled,
            kept: step.kept,
            next_cursor: step.next.map(|next| next.to_string()),
        }
    }
}

/// The query of `DELETE /api/sms/persons/{phone}`.
struct ErasureQuery {
    from: Option<EventId>,
}

impl Declared for ErasureQuery {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let from = fields.optional("cursor", "`next_cursor` of the step before.", kinds::cursor::<EventId>());
        Ok(Self { from: from? })
    }
}

contract::parameters!(Query: ErasureQuery);

/// Erases a person's data.
///
/// Messages to them and from them, their texts, the streams' entries, the history of their consent and preferences with their number
/// are taken away; what waits for them is called off. What they have opted out of is obeyed all the same: it stays under a keyed
/// hash of the number. A step at a time: ask again with `next_cursor` as `cursor` until it is null. Whoever begins anew
/// completes what was broken off, and finds nothing the second time.
#[utoipa::path(
    delete, path = "/api/sms/persons/{phone}", tags = [operations::TAG, operations::CONSENT], operation_id = "erasePerson",
    params(PersonPath, ErasureQuery),
    responses(ReadProblems, (status = 200, body = ErasureView, description = "what this step has erased")),
)]
pub async fn erase(
    state: web::Data<State>,
    caller: Caller,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Administer)?;
    let path: PersonPath = contract::path(&request)?;
    let region = state.app.settings().default_region;
    let phone = phone::person(&path.phone, region).map_err(Problem::invalid_phone_number)?;
    let ErasureQuery { from } = contract::query(&request, &state.context())?;
    to_its_end(async move {
        let erasures = state.app.erasures.of(&caller.organization);
        let step = erasures.erase(&phone, from, &caller.origin()).await?;
        Ok(HttpResponse::Ok().json(ErasureView::from(step)))
    })
    .await
}
