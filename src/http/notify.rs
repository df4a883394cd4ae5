//! Notices to users.

use std::{collections::HashSet, time::Duration};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    contract::{
        self, Declared, Fields, LargeBody, Read, Request, kinds,
        operations::{self, SendProblems},
        words::{self, Category, FallbackChannel, Words},
    },
    idempotency::{IdempotencyKey, Outcome, once},
    problem::{Code, Problem},
    send::content,
};
use crate::{
    app::outgoing::{
        content::Content,
        notify::{Notified, Notify, Skipped, USERS_MAX},
    },
    domain::{MessageId, Refusal, consent::NoConsent},
    twilio::Channel,
};

/// The longest time after which an SMS follows, in seconds.
const FALLBACK_S_MAX: u32 = 86_400;

/// A request to tell users something.
pub struct NotifyRequest {
    user_ids: Vec<String>,
    category: Category,
    content: Content,
    fallback: Option<FallbackRequest>,
}

impl Request for NotifyRequest {
    const NAME: &'static str = "NotifyRequest";
    const MEANING: &'static str =
        "A notice to users. A template goes over WhatsApp, in place of the text; over SMS goes the text.";

    fn example() -> Option<Value> {
        Some(json!({
            "user_ids": ["ada"], "message": "Please approve request 7.", "category": "workflow_approval",
        }))
    }
}

impl Declared for NotifyRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let user_ids = fields.required(
            "user_ids",
            "The users; each is told once.",
            kinds::list(1..=USERS_MAX, kinds::user_id()),
        );
        let category = fields.required(
            "category",
            "What it is about; `emergency` goes first and is held back by nothing but consent.",
            kinds::word::<Category>(),
        );
        let content = content(fields);
        let fallback = fields.optional(
            "fallback",
            "An SMS if the WhatsApp message does not arrive.",
            kinds::object::<FallbackRequest>(),
        );
        if let Ok(Content { body: None, content_sid: Some(_), media_url, .. }) = &content
            && media_url.is_empty()
        {
            fields.fault("message", "must be given: it is what goes out as SMS");
        }
        Ok(Self { user_ids: user_ids?, category: category?, content: content?, fallback: fallback? })
    }
}

/// What follows if the first message does not arrive.
struct FallbackRequest {
    after: Duration,
}

impl Request for FallbackRequest {
    const NAME: &'static str = "FallbackRequest";
    const MEANING: &'static str = "What follows if the first message does not arrive.";
}

impl Declared for FallbackRequest {
    fn declare(fields: &mut impl Fields) -> Read<Self> {
        let channel = fields.required("channel", "The channel.", kinds::word());
        let after_s = fields.required(
            "after_s",
            "How long the first may take, in seconds.",
            kinds::number(1..=FALLBACK_S_MAX),
        );
        let FallbackChannel::Sms = channel?;
        Ok(Self { after: Duration::from_secs(after_s?.into()) })
    }
}

contract::request_body!(NotifyRequest);

/// What became of each user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notified)]
struct NotifiedView {
    results: Vec<NotifiedUser>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifiedUser)]
struct NotifiedUser {
    user_id: String,
    queued: Vec<Queued>,
    skipped: Vec<NotSent>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifyQueued)]
struct Queued {
    #[schema(value_type = words::Channel)]
    channel: Channel,
    #[schema(value_type = String)]
    id: MessageId,
    /// It leaves only if the other does not arrive.
    fallback: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifySkipped)]
struct NotSent {
    #[schema(value_type = words::Channel)]
    channel: Channel,
    code: &'static str,
    detail: &'static str,
}

/// Tells users something, on the channels that their preferences and consent allow.
///
/// With `fallback`, a user who has both channels gets an SMS only if the WhatsApp message does not arrive in time.
#[utoipa::path(
    post, path = "/api/sms/notify", tags = [operations::TAG, operations::SENDING], operation_id = "notify", params(IdempotencyKey),
    request_body = NotifyRequest,
    responses(SendProblems, (status = 202, body = NotifiedView, description = "what is queued for each user, and what not")),
)]
pub async fn notify(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    body: LargeBody,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let queued = state.heavy.queue(&caller.organization, body.size())?;
    let context = state.context();
    let read = queued.run(move || async move {
        let body = body.parse()?;
        Ok::<_, Problem>((body.digest(), body.read::<NotifyRequest>(&context)?))
    });
    let (digest, request) = read.await?;
    let mut seen = HashSet::new();
    let notify = Notify {
        user_ids: request.user_ids.into_iter().filter(|user| seen.insert(user.clone())).collect(),
        // A template is WhatsApp's; the text is for both.
        content: Content { content_sid: None, content_variables: None, ..request.content.clone() },
        whatsapp_content: request.content,
        category: request.category.as_str().to_owned(),
        fallback_after: request.fallback.map(|fallback| fallback.after),
        seed: None,
        by: caller.origin(),
    };
    let organization = caller.organization.clone();
    once(state.clone(), &caller, "notify", key, digest, async move |seed| {
        let notify = Notify { seed, ..notify };
        let category = notify.category.clone();
        let notifying = queued.run({
            let (app, organization) = (state.app.clone(), organization.clone());
            move || async move { app.outgoing.of(&organization).notify(&notify).await }
        });
        let notified = notifying.await?;
        let queued: usize = notified.iter().map(|user| user.queued.len()).sum();
        tracing::info!(%organization, users = notified.len(), queued, category, "users notified");
        let results = NotifiedView { results: notified.into_iter().map(NotifiedUser::from).collect() };
        Ok(Outcome::new(StatusCode::ACCEPTED, &results))
    })
    .await
}

impl From<Notified> for NotifiedUser {
    fn from(notified: Notified) -> Self {
        let queued =
            notified.queued.into_iter().map(|(channel, id, fallback)| Queued { channel, id, fallback });
        let skipped = notified.skipped.into_iter().map(|(channel, reason)| {
            let (code, detail) = match reason {
                Skipped::NoPhoneNumber => {
                    ("no_phone_number", "the user has no phone number in the preferences")
                }
                Skipped::ChannelDisabled => ("channel_disabled", "the user has not turned this channel on"),
                Skipped::NoConsent(NoConsent::OptedOut) => {
                    (Code::RecipientOptedOut.as_str(), "the person has opted out of this channel")
                }
                Skipped::NoConsent(NoConsent::BlockedByTwilio) => {
                    (Code::RecipientOptedOut.as_str(), "Twilio blocks messages until the person texts START")
                }
                Skipped::NoConsent(NoConsent::NotOptedIn) => {
                    (Code::OptInRequired.as_str(), "the person has not opted in to this channel")
                }
                Skipped::NotAllowed(reason) => {
                    let refusal = Refusal::from(reason);
                    (refusal.as_str(), refusal.reason())
                }
                Skipped::Unreachable => {
                    let refusal = Refusal::RecipientUnreachable;
                    (refusal.as_str(), refusal.reason())
                }
                Skipped::NoSender => ("no_sender", "no sender is configured for this channel"),
            };
            NotSent { channel, code, detail }
        });
        Self { user_id: notified.user_id, queued: queued.collect(), skipped: skipped.collect() }
    }
}
