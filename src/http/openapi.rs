//! The document of the API, OpenAPI 3.1, made of the code; and the page that shows it.

mod requests;
mod words;

use std::{collections::BTreeMap, sync::LazyLock};

use actix_web::{HttpResponse, web};
use serde_json::{Map, Value, json};
use utoipa::{
    IntoParams, IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        ContentBuilder, Ref, RefOr, Response, ResponseBuilder,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

pub use self::{requests::*, words::*};
use super::{
    batches, connection, consent, events, lookup, messages, notify, preferences, problem::Code, refusals,
    send, settings, stats,
};

/// The tag of every operation.
pub const TAG: &str = "SMS & WhatsApp";

macro_rules! subjects {
    ($($(#[$doc:meta])* $constant:ident = $name:literal, $description:literal;)+) => {
        $($(#[$doc])* pub const $constant: &str = $name;)+

        /// What operations are about, in the order in which a reader needs them.
        const SUBJECTS: &[(&str, &str)] = &[$(($name, $description)),+];
    };
}

subjects! {
    /// Sends.
    SENDING = "Sending", "One message, one to many, or a notice to users";
    /// Single messages.
    MESSAGES = "Messages", "What became of a message, and the history";
    /// Batches.
    BATCHES = "Batches", "How far a batch is, and calling it off";
    /// Events and numbers.
    EVENTS = "Events and statistics", "What happens, as it happens and in numbers";
    /// Consent.
    CONSENT = "Consent", "Who may be sent to, and how that came about";
    /// Preferences.
    PREFERENCES = "Preferences", "Which channels users want";
    /// Lookups.
    NUMBERS = "Numbers", "What a phone number is";
    /// Setup.
    SETUP = "Setup", "The account at Twilio, for administrators";
}

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
        preferences::own, preferences::change_own, preferences::of_user, preferences::change_of_user,
        consent::consent, consent::history, consent::record, consent::export, consent::import, lookup::lookup,
        settings::show, settings::save, connection::test, events::events, stats::stats, refusals::list,
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

/// A failure: RFC 9457, with a stable code and what to do about it.
#[derive(ToSchema)]
#[schema(as = Problem)]
#[allow(dead_code, reason = "it is read by its schema alone")]
struct ProblemDetails {
    #[schema(example = "about:blank")]
    r#type: String,
    title: String,
    status: u16,
    /// What happened.
    detail: String,
    /// The stable code.
    code: String,
    /// Twilio's code, where Twilio gave one.
    twilio_code: Option<u32>,
    /// What to do about it.
    mend: String,
    /// Each field that is wrong, with `validation_failed`.
    errors: Option<Vec<FieldFault>>,
}

/// What is wrong with one field.
#[derive(ToSchema)]
#[schema(as = FieldError)]
#[allow(dead_code, reason = "it is read by its schema alone")]
struct FieldFault {
    field: String,
    detail: String,
}

/// The header that makes a POST happen once.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it is read by its schema alone")]
pub struct IdempotencyHeader {
    /// The same key and body within 24 hours give the first answer again, and send nothing.
    #[param(rename = "Idempotency-Key", min_length = 1, max_length = 255)]
    key: Option<String>,
}

macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident = $statuses:expr;)+) => {
        $($(#[$doc])* pub struct $name;

        impl IntoResponses for $name {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                $statuses.iter().map(|status| (status.to_string(), problem(*status))).collect()
            }
        })+
    };
}

problems! {
    /// How a question can fail.
    ReadProblems = [401, 403, 404, 422, 429, 503];
    /// How a change can fail.
    WriteProblems = [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503];
    /// How a send can fail.
    SendProblems = [400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 502, 503];
    /// How a question that needs an account at Twilio can fail.
    ConflictProblems = [409];
    /// How asking Twilio can fail.
    TwilioProblems = [409, 502, 503];
}

/// The answer of failures with `status`: which codes it can have.
fn problem(status: u16) -> RefOr<Response> {
    let of_status = Code::ALL.iter().filter(|code| code.status() == status);
    let codes: Vec<&str> = of_status.map(|code| code.as_str()).collect();
    let schema = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new().description(codes.join(", "));
    response.content("application/problem+json", content).build().into()
}

/// The document, as it is served.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let mut document = serde_json::to_value(Document::openapi()).expect("a document has string keys");
    complete(&mut document);
    let mut text = serde_json::to_string_pretty(&document).expect("a JSON value is JSON");
    text.push('\n');
    text
});

/// Adds what the derived schemas leave out: what is answered is answered whole, with null where there is nothing; what is
/// asked may have no other fields; and every code of a failure is known.
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
        if name.ends_with("Request") {
            schema["additionalProperties"] = false.into();
        } else if name != "Problem" {
            require_all(schema);
        }
        for property in ["media_url", "content_variables"] {
            // By path: an index would make the objects that are not there.
            if let Some(property_schema) = schema.pointer_mut(&format!("/properties/{property}")) {
                *property_schema = free_form(property, property_schema["description"].take());
            }
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

/// Fields that are given in more than one form.
fn free_form(name: &str, description: Value) -> Value {
    let url = json!({ "type": "string" });
    let forms = match name {
        "media_url" => json!([url, { "type": "array", "maxItems": 10, "items": url }, { "type": "null" }]),
        _ => json!([{ "type": "object" }, { "type": "string" }, { "type": "null" }]),
    };
    json!({ "description": description, "oneOf": forms })
}

/// `GET /api/openapi.json`.
pub async fn document() -> HttpResponse {
    HttpResponse::Ok().content_type("application/json").body(DOCUMENT.as_str())
}

/// The page that shows the document, with everything that it loads.
pub fn page(config: &mut web::ServiceConfig) {
    let page = utoipa_swagger_ui::SwaggerUi::new("/api/docs/{_:.*}")
        .external_url_unchecked("/api/openapi.json", json!(null));
    config.service(web::redirect("/api/docs", "/api/docs/")).service(page);
}
