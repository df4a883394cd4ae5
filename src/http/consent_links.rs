//! Links to the page on which a person changes their own consent.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Body, Declared, Fields, Read, Request, kinds,
        operations::{self, WriteProblems},
        words,
    },
    problem::Problem,
    time,
};
use crate::{
    app::consents::link::{LIFE_DEFAULT, LIFE_MAX, LIFE_MIN},
    domain::audit::{Action, Masked, Subject},
    phone,
    twilio::reply::Language,
};

/// A request for a link.
pub struct ConsentLinkRequest {
    phone_number: String,
    life: Duration,
    language: Option<Language>,
}

impl Request for ConsentLinkRequest {
    const NAME: &'static str = "ConsentLinkRequest";
    const MEANING: &'static str = "Whom a link is for, and how long.";

    fn example() -> Option<Value> {
        Some(json!({ "phone_number": "+14155552671", "language": "es" }))
    }
}

impl Declared for ConsentLinkRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let phone_number = fields.required("phone_number", "The person.", kinds::typed_phone_number());
        let expires_in_s = fields.with_default(
            "expires_in_s",
            "How long the link is good, in seconds.",
            seconds(LIFE_DEFAULT),
            kinds::number(seconds(LIFE_MIN)..=seconds(LIFE_MAX)),
        );
        let language = fields.optional(
            "language",
            "The page's language; the browser's if left out. The person can choose another one there.",
            kinds::word::<words::PageLanguage>(),
        );
        Ok(Self {
            phone_number: phone_number?,
            life: Duration::from_secs(expires_in_s?.into()),
            language: language?.map(Language::from),
        })
    }
}

contract::request_body!(ConsentLinkRequest);

fn seconds(life: Duration) -> u32 {
    u32::try_from(life.as_secs()).expect("a link's life is a year or so")
}

/// A link.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConsentLink)]
struct ConsentLinkView {
    /// What to send to the person, and to nobody else.
    url: String,
    #[schema(format = DateTime)]
    expires_at: String,
}

/// Makes a link by which a person sees and changes their own consent.
///
/// It leads to a page in the person's language that works without script. What they choose there is their own word, with
/// the source `link`. Whoever has the link can choose for them, so send it to that person alone.
#[utoipa::path(
    post, path = "/api/sms/consent/links", tags = [operations::TAG, operations::CONSENT], operation_id = "makeConsentLink",
    request_body = ConsentLinkRequest,
    responses(WriteProblems, (status = 201, body = ConsentLinkView, description = "the link")),
)]
pub async fn make(state: web::Data<State>, caller: Caller, body: Body) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let request: ConsentLinkRequest = body.read(&state.context())?;
    let person = phone::person(&request.phone_number, state.app.settings().default_region)
        .map_err(Problem::invalid_phone_number)?;
    let consents = state.app.consents.of(&caller.organization);
    let (link, url) = consents.link(person, request.language, request.life)?;
    let about = Subject::Person(Masked::of(&link.person));
    let entry = caller.origin().entry(Action::ConsentLink).about(about);
    state.app.audit.of(&caller.organization).record(entry).await?;
    Ok(HttpResponse::Created().json(ConsentLinkView { url, expires_at: time(link.expires_at) }))
}
