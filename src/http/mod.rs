//! The doors: HTTP for the application, for Twilio and for people. No rules live here.

pub mod auth;
mod batches;
mod connection;
mod consent;
mod dashboard;
mod dropin;
mod events;
mod fields;
mod health;
mod idempotency;
mod lookup;
mod messages;
mod notify;
mod openapi;
mod preferences;
mod problem;
pub mod public_url;
pub mod rate_limit;
pub mod refusals;
mod request_id;
mod send;
pub mod server;
mod settings;
mod signed_events;
mod signed_form;
mod stats;
mod verification;
mod webhooks;

use std::sync::Arc;

use actix_web::{
    HttpResponse, ResponseError,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::from_fn,
    web,
};
use tokio_util::sync::CancellationToken;

pub use self::signed_form::FORM_BYTES_MAX;
use self::{
    auth::Authenticator, problem::Problem, public_url::PublicUrl, rate_limit::RateLimit, refusals::Refusals,
};
use crate::{app::App, config::Replies, domain::UnixMs, worker::tailer::Tailer};

/// What the handlers share.
pub struct State {
    /// The service.
    pub app: Arc<App>,
    /// The URL by which Twilio reaches us.
    pub public_url: PublicUrl,
    /// Where refused signatures are explained.
    pub refusals: Refusals,
    /// Who may call.
    pub authenticator: Authenticator,
    /// How often.
    pub rate_limit: RateLimit,
    /// What is said to people.
    pub replies: Replies,
    /// The live streams.
    pub tailer: Tailer,
    /// Cancelled when the service stops: what streams ends.
    pub stop: CancellationToken,
}

/// The route table. What Twilio posts is taken below `prefix` too, the public URL's path, for proxies that leave it on.
pub fn routes(config: &mut web::ServiceConfig, prefix: &str) {
    config
        .service(page("/").route(web::get().to(dashboard::page)))
        .service(page("/healthz").route(web::get().to(health::healthz)))
        .service(page("/readyz").route(web::get().to(health::readyz)))
        .service(page("/metrics").route(web::get().to(health::metrics)))
        .service(api("/api/sms/send").route(web::post().to(send::send)))
        .service(api("/api/sms/whatsapp/send").route(web::post().to(send::send_whatsapp)))
        .service(api("/api/sms/send-bulk").route(web::post().to(send::send_bulk)))
        .service(api("/api/sms/whatsapp/send-bulk").route(web::post().to(send::send_bulk_whatsapp)))
        .service(
            api("/api/sms/batches/{batch_id}")
                .route(web::get().to(batches::progress))
                .route(web::delete().to(batches::cancel)),
        )
        .service(api("/api/sms/batches/{batch_id}/messages").route(web::get().to(batches::list)))
        .service(api("/api/sms/notify").route(web::post().to(notify::notify)))
        .service(
            api("/api/sms/preferences")
                .route(web::get().to(preferences::own))
                .route(web::put().to(preferences::change_own)),
        )
        .service(
            api("/api/sms/preferences/{user_id}")
                .route(web::get().to(preferences::of_user))
                .route(web::put().to(preferences::change_of_user)),
        )
        .service(api("/api/sms/stats").route(web::get().to(stats::stats)))
        .service(api("/api/sms/lookup/{phone}").route(web::get().to(lookup::lookup)))
        .service(api("/api/sms/messages").route(web::get().to(messages::history)))
        .service(api("/api/sms/message-status/{message_sid}").route(web::get().to(messages::message_status)))
        .service(api("/api/sms/consent").route(web::post().to(consent::record)))
        .service(api("/api/sms/consent/export").route(web::get().to(consent::export)))
        .service(api("/api/sms/consent/import").route(web::post().to(consent::import)))
        .service(api("/api/sms/consent/{phone}").route(web::get().to(consent::consent)))
        .service(api("/api/sms/consent/{phone}/history").route(web::get().to(consent::history)))
        .service(
            api("/api/sms/settings")
                .route(web::get().to(settings::show))
                .route(web::post().to(settings::save)),
        )
        .service(api("/api/sms/test-connection").route(web::post().to(connection::test)))
        .service(api("/api/sms/events").route(web::get().to(events::events)))
        .service(api("/api/sms/webhook-refusals").route(web::get().to(refusals::list)));
    config.service(page("/api/openapi.json").route(web::get().to(openapi::document)));
    openapi::page(config);
    for prefix in if prefix.is_empty() { vec![""] } else { vec!["", prefix] } {
        config
            .service(
                page(&format!("{prefix}/webhooks/twilio/status"))
                    .route(web::get().to(webhooks::status))
                    .route(web::post().to(webhooks::status)),
            )
            .service(
                page(&format!("{prefix}/webhooks/twilio/inbound"))
                    .route(web::get().to(webhooks::inbound))
                    .route(web::post().to(webhooks::inbound)),
            )
            .service(
                page(&format!("{prefix}/webhooks/twilio/events")).route(web::post().to(webhooks::events)),
            );
    }
    config.configure(dropin::routes);
    config.default_service(web::to(no_such_path));
}

/// A path whose other methods are a problem of their own.
fn page(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(method_not_allowed))
}

/// A path of the application's side: its requests have ids.
fn api(
    path: &str,
) -> actix_web::Resource<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<>>,
        Error = actix_web::Error,
        InitError = (),
    > + use<>,
> {
    page(path).wrap(from_fn(request_id::carry))
}

async fn no_such_path() -> HttpResponse {
    Problem::not_found("this path").error_response()
}

async fn method_not_allowed() -> HttpResponse {
    Problem::new(
        problem::Code::MethodNotAllowed,
        "this path takes another method",
        "see the README for the routes and their methods",
    )
    .error_response()
}

/// A time in JSON: RFC 3339, UTC, milliseconds.
fn time(at: UnixMs) -> String {
    let timestamp = i64::try_from(at).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", timestamp.unwrap_or(jiff::Timestamp::MAX))
}
