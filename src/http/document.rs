//! The document of the API, OpenAPI 3.1, made of the handlers and of what their requests declare; and the page that shows it.

use std::sync::LazyLock;

use actix_web::{HttpResponse, http::header, middleware::DefaultHeaders, web};
use serde_json::{Map, Value, json};
use utoipa::{
    Modify, OpenApi,
    openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
};

use super::{
    api_keys, audit, batches, connection, consent, consent_links,
    contract::operations::{ProblemDetails, SUBJECTS, TAG},
    events, forward, lookup, messages, notify, persons, preferences,
    problem::Code,
    refusals, retention, reviews, send, settings, stats, suppressions, traffic,
};

/// Only the page's own files may run, and they may talk to this service alone. Its script writes styles into the page.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; \
     img-src 'self' data:; font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";

/// The document without what is made of other things than the handlers.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "textledger",
        description = "Sends SMS, MMS and WhatsApp messages through Twilio, keeps what became of each, and obeys STOP.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "the service that this document came from")),
    tags((name = TAG, description = "What an application, its dashboards and its administrators use")),
    paths(
        send::send, send::send_whatsapp, send::send_bulk, send::send_bulk_whatsapp, batches::progress,
        batches::cancel, batches::list, notify::notify, messages::message_status, messages::history,
        preferences::own, preferences::change_own, preferences::confirm, preferences::of_user,
        preferences::change_of_user,
        consent::consent, consent::history, consent::record, consent::export, consent::import, consent_links::make,
        reviews::list, reviews::decide,
        lookup::lookup,
        settings::show, settings::save, connection::test, api_keys::list, api_keys::create, api_keys::rotate,
        api_keys::revoke, events::events, stats::stats, refusals::list, audit::list, retention::dry_run,
        traffic::list, traffic::decide, persons::erase, suppressions::list, suppressions::lift,
        forward::list, forward::replay,
    ),
    components(schemas(ProblemDetails)),
    modifiers(&Bearer),
    security(("bearer" = [])),
)]
struct Document;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let bearer = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("a JWT, or an API key; textledger token --role sender prints one"))
            .build();
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
    }
}

/// The document, as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Document::openapi()).expect("a document has string keys");
    complete(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value is JSON");
    text.push('\n');
    text
});

/// Adds what the derived schemas leave out: what is answered is answered whole, with null where there is nothing; and every
/// code of a failure is known.
fn complete(document: &mut Value) {
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    if let Some(tags) = document["tags"].as_array_mut() {
        tags.extend(
            SUBJECTS.iter().map(|(name, description)| json!({ "name": name, "description": description })),
        );
    }
    let codes: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let Some(schemas) = document["components"]["schemas"].as_object_mut() else { return };
    for (name, schema) in schemas.iter_mut() {
        // What is asked says itself what is required.
        let is_asked = schema.get("additionalProperties") == Some(&Value::Bool(false));
        if !is_asked && name != "Problem" {
            require_all(schema);
        }
    }
    name_events(schemas);
    schemas["Problem"]["properties"]["code"] = json!({ "type": "string", "enum": codes });
}

/// Gives each variant of an event a schema with a name, and says by which field they are told apart: generators make types
/// of both.
fn name_events(schemas: &mut Map<String, Value>) {
    let Some(variants) = schemas.get_mut("Event").and_then(|event| event.get_mut("oneOf")).map(Value::take)
    else {
        return;
    };
    let (mut references, mut mapping) = (Vec::new(), Map::new());
    for mut variant in variants.as_array().cloned().unwrap_or_default() {
        let Some(kind) = variant["properties"]["type"]["enum"][0].as_str().map(str::to_owned) else {
            continue;
        };
        let name = format!("{}{}Event", kind[..1].to_uppercase(), &kind[1..]);
        let reference = format!("#/components/schemas/{name}");
        variant["properties"]["type"] = json!({ "type": "string", "const": kind });
        references.push(json!({ "$ref": reference }));
        mapping.insert(kind, reference.into());
        schemas.insert(name, variant);
    }
    schemas["Event"]["oneOf"] = references.into();
    schemas["Event"]["discriminator"] = json!({ "propertyName": "type", "mapping": mapping });
}

fn require_all(schema: &mut Value) {
    if let Some(properties) = schema["properties"].as_object() {
        schema["required"] = properties.keys().cloned().collect();
    }
    for kind in ["oneOf", "allOf"] {
        if let Some(parts) = schema.get_mut(kind).and_then(Value::as_array_mut) {
            parts.iter_mut().for_each(require_all);
        }
    }
}

/// `GET /api/openapi.json`.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// The page that shows the document, with everything that it loads.
pub fn page(config: &mut web::ServiceConfig) {
    // A document is not shown to a validator elsewhere, which is what the page would do.
    let shown = utoipa_swagger_ui::Config::from("/api/openapi.json").validator_url("none");
    let page = utoipa_swagger_ui::SwaggerUi::new("/{_:.*}").config(shown);
    let headers = DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .add((header::CACHE_CONTROL, "no-cache"));
    config.service(web::redirect("/api/docs", "/api/docs/"));
    config.service(web::scope("/api/docs").wrap(headers).service(page));
}
