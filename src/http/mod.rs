//! The doors: HTTP for the application, for Twilio and for people. No rules live here.

mod api_keys;
mod audit;
pub mod auth;
mod batches;
mod connection;
pub mod connections;
mod consent;
mod consent_links;
mod consent_page;
mod contract;
mod cross_origin;
mod dashboard;
mod document;
mod dropin;
mod events;
mod forward;
mod health;
pub mod heavy;
mod idempotency;
mod lookup;
mod messages;
mod misdirected;
mod notify;
mod outer;
mod payload_kind;
mod persons;
mod preferences;
mod problem;
pub mod public_url;
pub mod rate_limit;
pub mod refusals;
mod request_id;
mod retention;
mod reviews;
mod send;
pub mod server;
mod settings;
pub mod sign_in;
mod signed_events;
mod signed_form;
mod stats;
pub mod stopping;
pub mod streams;
mod suppressions;
mod traffic;
pub mod unsigned;
mod verification;
mod webhooks;

use std::sync::Arc;

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Responder, ResponseError, Route,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    guard,
    http::{
        Method,
        header::{self, HeaderValue},
    },
    middleware::from_fn,
    web,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use self::{
    auth::{Authenticator, Caller},
    contract::Context,
    heavy::Heavy,
    misdirected::Told,
    problem::Problem,
    public_url::PublicUrl,
    rate_limit::RateLimit,
    refusals::Refusals,
    sign_in::SignIns,
    streams::Streams,
    unsigned::UnsignedBudget,
};
pub use self::{events::event_json, verification::FORM_BYTES_MAX};
use crate::{
    app::{App, consents::link},
    domain::UnixMs,
    worker::tailer::Tailer,
};

/// What the handlers share.
pub struct State {
    /// The service.
    pub app: Arc<App>,
    /// The URL by which Twilio reaches us.
    pub public_url: PublicUrl,
    /// Where refused signatures are explained.
    pub refusals: Refusals,
    /// Which wrong URLs were told lately.
    pub misdirected: Told,
    /// Who may call.
    pub authenticator: Authenticator,
    /// Who failed to sign in.
    pub sign_ins: SignIns,
    /// How often.
    pub rate_limit: RateLimit,
    /// How much is looked for in webhooks that name no account.
    pub unsigned: UnsignedBudget,
    /// Origins whose pages may ask.
    pub cors_origins: Vec<String>,
    /// Where requests are worked on that name many people.
    pub heavy: Heavy,
    /// What live streams tell.
    pub tailer: Tailer,
    /// How many of them there are.
    pub streams: Streams,
    /// Cancelled when the service is asked to stop: what streams ends, and every answer ends its connection.
    pub stop: CancellationToken,
}

impl State {
    /// What the reading of a request depends on.
    fn context(&self) -> Context {
        Context { now: self.app.now_ms(), region: self.app.settings().default_region, ..Context::default() }
    }
}

/// Where everything is the application's.
const API: &str = "/api/sms";

/// The route table of the main address. What Twilio posts and what people open is taken below `prefix` too, the public URL's
/// path, for proxies that leave it on. Metrics are there unless they have an address of their own.
pub fn routes(config: &mut web::ServiceConfig, prefix: &str, has_metrics: bool) {
    if has_metrics {
        config.service(page("/metrics", [get(health::metrics_for_strangers)]));
    }
    config
        .service(page("/", [get(dashboard::page)]))
        .service(page("/healthz", [get(health::healthz)]))
        .service(page("/readyz", [get(health::readyz)]))
        .service(api("/api/sms/send", [post(send::send)]))
        .service(api("/api/sms/whatsapp/send", [post(send::send_whatsapp)]))
        .service(api("/api/sms/send-bulk", [post(send::send_bulk)]))
        .service(api("/api/sms/whatsapp/send-bulk", [post(send::send_bulk_whatsapp)]))
        .service(api("/api/sms/batches/{batch_id}", [get(batches::progress), delete(batches::cancel)]))
        .service(api("/api/sms/batches/{batch_id}/messages", [get(batches::list)]))
        .service(api("/api/sms/notify", [post(notify::notify)]))
        .service(api("/api/sms/preferences", [get(preferences::own), put(preferences::change_own)]))
        .service(api("/api/sms/preferences/confirm", [post(preferences::confirm)]))
        .service(api(
            "/api/sms/preferences/{user_id}",
            [get(preferences::of_user), put(preferences::change_of_user)],
        ))
        .service(api("/api/sms/stats", [get(stats::stats)]))
        .service(api("/api/sms/lookup/{phone}", [get(lookup::lookup)]))
        .service(api("/api/sms/messages", [get(messages::history)]))
        .service(api("/api/sms/message-status/{message_sid}", [get(messages::message_status)]))
        .service(api("/api/sms/consent", [post(consent::record)]))
        .service(api("/api/sms/consent/export", [get(consent::export)]))
        .service(api("/api/sms/consent/import", [post(consent::import)]))
        .service(api("/api/sms/consent/links", [post(consent_links::make)]))
        .service(api("/api/sms/consent/reviews", [get(reviews::list)]))
        .service(api("/api/sms/consent/reviews/{message_sid}", [post(reviews::decide)]))
        .service(api("/api/sms/consent/{phone}", [get(consent::consent)]))
        .service(api("/api/sms/consent/{phone}/history", [get(consent::history)]))
        .service(api("/api/sms/persons/{phone}", [delete(persons::erase)]))
        .service(api("/api/sms/settings", [get(settings::show), post(settings::save)]))
        .service(api("/api/sms/api-keys", [get(api_keys::list), post(api_keys::create)]))
        .service(api("/api/sms/api-keys/{sid}", [delete(api_keys::revoke)]))
        .service(api("/api/sms/api-keys/{sid}/rotate", [post(api_keys::rotate)]))
        .service(api("/api/sms/suspicious-traffic", [get(traffic::list)]))
        .service(api("/api/sms/suspicious-traffic/{prefix}", [post(traffic::decide)]))
        .service(api("/api/sms/forward", [get(forward::list)]))
        .service(api("/api/sms/forward/replay", [post(forward::replay)]))
        .service(api("/api/sms/suppressions", [get(suppressions::list)]))
        .service(api("/api/sms/suppressions/{phone}", [delete(suppressions::lift)]))
        .service(api("/api/sms/test-connection", [post(connection::test)]))
        .service(api("/api/sms/events", [get(events::events)]))
        .service(api("/api/sms/webhook-refusals", [get(refusals::list)]))
        .service(api("/api/sms/audit", [get(audit::list)]))
        .service(api("/api/sms/retention", [get(retention::dry_run)]))
        .service(page("/api/openapi.json", [get(document::document)]));
    document::page(config);
    for prefix in prefixes(prefix) {
        config.service(page(
            &format!("{prefix}{}{{token:.*}}", link::PATH),
            [get(consent_page::show), post(consent_page::change)],
        ));
    }
    webhooks_of_twilio(config, prefix);
    config.configure(dropin::routes);
    config.default_service(web::to(no_such_path));
}

/// The route table of an address for webhooks alone.
pub fn webhook_routes(config: &mut web::ServiceConfig, prefix: &str) {
    webhooks_of_twilio(config, prefix);
    config.default_service(web::to(nothing_here));
}

/// The route table of an address for metrics alone.
pub fn metrics_routes(config: &mut web::ServiceConfig) {
    config.service(page("/metrics", [get(health::metrics_for_operators)]));
    config.default_service(web::to(nothing_here));
}

/// What Twilio posts, with and without `prefix`.
fn webhooks_of_twilio(config: &mut web::ServiceConfig, prefix: &str) {
    for prefix in prefixes(prefix) {
        let webhook = |name: &str| format!("{prefix}/webhooks/twilio/{name}");
        config
            .service(page(&webhook("status"), [get(webhooks::status), post(webhooks::status)]))
            .service(page(&webhook("inbound"), [get(webhooks::inbound), post(webhooks::inbound)]))
            .service(page(&webhook("events"), [post(webhooks::events)]))
            .service(web::resource(format!("{prefix}/webhooks/{{path:.*}}")).to(misdirected::unknown_path));
    }
}

/// What may stand in front of a path: nothing, or the public URL's own path.
fn prefixes(prefix: &str) -> impl Iterator<Item = &str> {
    std::iter::once("").chain((!prefix.is_empty()).then_some(prefix))
}

/// A path and what is done for each of its methods; another method is a problem that names those. Where there is a GET,
/// there is a HEAD.
fn page<const N: usize>(path: &str, methods: [(Method, Route); N]) -> actix_web::Resource {
    let mut allowed = Vec::new();
    let resource = methods.into_iter().fold(web::resource(path), |resource, (method, route)| {
        allowed.push(method.to_string());
        let asked = guard::Any(guard::Method(method.clone()));
        resource.route(route.guard(if method == Method::GET {
            allowed.push(Method::HEAD.to_string());
            asked.or(guard::Head())
        } else {
            asked
        }))
    });
    let allowed = allowed.join(", ");
    resource.default_service(web::to(move || std::future::ready(method_not_allowed(&allowed))))
}

/// A path of the application's side: its requests have ids, and those beyond a role are counted.
fn api<const N: usize>(
    path: &str,
    methods: [(Method, Route); N],
) -> actix_web::Resource<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse<impl MessageBody + use<N>>,
        Error = actix_web::Error,
        InitError = (),
    > + use<N>,
> {
    page(path, methods).wrap(from_fn(sign_in::watch)).wrap(from_fn(request_id::carry))
}

async fn nothing_here() -> HttpResponse {
    HttpResponse::NotFound().finish()
}

async fn no_such_path(request: HttpRequest, caller: Result<Caller, Problem>) -> HttpResponse {
    match caller {
        // What there is below the application's paths is nothing for strangers.
        Err(problem) if request.match_info().as_str().starts_with(API) => problem.error_response(),
        _ => Problem::not_found("this path").error_response(),
    }
}

fn method_not_allowed(allowed: &str) -> HttpResponse {
    let problem = Problem::new(
        problem::Code::MethodNotAllowed,
        format!("this path takes {allowed}"),
        "see docs/http.md for the routes and their methods",
    );
    let mut response = problem.error_response();
    if let Ok(allowed) = HeaderValue::try_from(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

macro_rules! methods {
    ($($name:ident = $method:ident;)+) => {
        $(fn $name<F, Args>(handler: F) -> (Method, Route)
        where
            F: Handler<Args, Output: Responder + 'static>,
            Args: FromRequest + 'static,
        {
            (Method::$method, Route::new().to(handler))
        })+
    };
}

methods! {
    get = GET;
    post = POST;
    put = PUT;
    delete = DELETE;
}

/// Does `work` to its end, whether its caller stays or hangs up: what is changed must be written down as well.
async fn to_its_end<T: 'static>(work: impl Future<Output = T> + 'static) -> T {
    let done = actix_web::rt::spawn(work.in_current_span()).await;
    done.expect("the work does not panic and is not aborted")
}

/// A time in JSON: RFC 3339, UTC, milliseconds.
fn time(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(jiff::Timestamp::MAX))
}
