//! What people are told: in their language, in the organization's words, with the name of who sends.

use serde_json::{Value, json};

use super::on_both_stores;
use crate::support::{
    service::{On, TestService, reply},
    twilio::World,
};

const SETTINGS: &str = "/api/sms/settings";
const INBOUND: &str = "/webhooks/twilio/inbound";
const OTHER_ACCOUNT: &str = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
const OTHER_TOKEN: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f0";

on_both_stores! {
    an_answer_is_in_the_language_of_the_word
    an_answer_names_who_sends
    an_organization_has_words_of_its_own
    words_that_all_languages_use_are_answered_in_the_organizations_language
    a_configured_text_is_of_one_language
    the_words_of_another_organization_are_not_used
    a_text_that_cannot_be_said_is_refused_by_its_name
}

/// The message in a TwiML document, as the person reads it; empty if there is none.
fn message(twiml: &str) -> String {
    let inside = twiml.split_once("<Message>").and_then(|(_, rest)| rest.split_once("</Message>"));
    let escaped = inside.map_or("", |(text, _)| text);
    [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")]
        .iter()
        .fold(escaped.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

/// What a new person is told who writes `text` over WhatsApp, where Twilio answers nothing.
async fn told(world: &World, person: u32, text: &str) -> String {
    let (status, twiml) = world.write(&format!("whatsapp:+1415555{person:04}"), text).await;
    assert_eq!(status, 200);
    message(&twiml)
}

async fn save(service: &TestService, organization: &str, change: Value) -> Value {
    let (status, settings) = service.post_in(organization, SETTINGS, &change).await;
    assert_eq!(status, 200, "{settings}");
    settings
}

async fn an_answer_is_in_the_language_of_the_word(on: On) {
    let world = World::start(on).await;
    let languages = [
        [("STOP", "You are unsubscribed and"), ("START", "You are subscribed."), ("HELP", "Reply STOP to")],
        [("baja", "Su baja es efectiva: ya"), ("alta", "Ha aceptado recibir"), ("ayuda", "Responda STOP")],
        [
            ("Arrêt!", "Votre désabonnement est"),
            ("abonner", "Votre abonnement est"),
            ("AIDE", "Répondez ARRET"),
        ],
        [
            ("ABMELDEN", "Sie sind abgemeldet und"),
            ("Anmelden", "Sie sind angemeldet."),
            ("Hilfe", "Antworten Sie"),
        ],
        [
            ("PARAR", "O seu cancelamento foi"),
            ("assinar", "O seu pedido foi"),
            ("ajuda", "Responda STOP para deixar"),
        ],
        [("disiscrivimi", "La cancellazione è"), ("iscrivimi", "L'iscrizione è"), ("aiuto", "Risponda STOP")],
        [
            ("afmelden", "U bent afgemeld en"),
            ("inschrijven", "U bent aangemeld voor"),
            ("hulp", "Antwoord STOP"),
        ],
    ];
    for (person, words) in (0..).zip(languages) {
        for (word, begins) in words {
            let said = told(&world, person, word).await;
            assert!(said.starts_with(begins), "{word}: {said}");
        }
    }
    // A request in other words, and a language that has no text.
    assert!(told(&world, 20, "ne m'envoyez plus de messages").await.starts_with("Votre désabonnement"));
    assert!(told(&world, 21, "退订").await.starts_with("You are unsubscribed"));
    // A repetition is told the same again.
    let sid = "SM00000000000000000000000000000099";
    for _ in 0..2 {
        let answer = world.service.webhook(INBOUND, &reply(sid, "whatsapp:+14155550022", "ALTO")).await;
        assert!(message(&answer.text().await.unwrap()).starts_with("Su baja es efectiva"));
    }
}

async fn an_answer_names_who_sends(on: On) {
    let settings =
        [("TEXTLEDGER_SENDER_NAME", "Host & Co"), ("TEXTLEDGER_HELP_CONTACT", "host.example/help")];
    let world = World::start_with(on, &settings).await;
    let configured = world.service.get_in("default", SETTINGS).await.1;
    assert_eq!(
        (&configured["display_name"], &configured["help_contact"]),
        (&json!("Host & Co"), &json!("host.example/help"))
    );
    let said = told(&world, 1, "HELP").await;
    assert!(said.starts_with("Host & Co: Reply STOP") && said.ends_with("Help: host.example/help"), "{said}");
    save(
        &world.service,
        "default",
        json!({ "display_name": "Café <Rhône>", "help_contact": "+15005550006" }),
    )
    .await;
    assert!(told(&world, 2, "ARRET").await.starts_with("Café <Rhône> : Votre désabonnement"));
    let said = told(&world, 2, "aide").await;
    assert!(said.starts_with("Café <Rhône> :") && said.ends_with("Aide : +15005550006"), "{said}");
    let cleared = save(&world.service, "default", json!({ "display_name": "", "help_contact": null })).await;
    assert_eq!(cleared["display_name"], "Host & Co");
    assert!(told(&world, 3, "STOP").await.starts_with("Host & Co: You are unsubscribed"));
}

async fn an_organization_has_words_of_its_own(on: On) {
    let mut world = World::start(on).await;
    let texts = json!({
        "es": { "opted_out": "{name}: Adiós & gracias", "opted_in": null, "help": " " },
        "pl": { "opted_out": "Wypisano", "opted_in": "{name} zaprasza" },
        "de": {},
    });
    let saved =
        save(&world.service, "default", json!({ "display_name": "Acme", "reply_texts": texts })).await;
    let shown = json!({
        "es": { "opted_out": "{name}: Adiós & gracias", "opted_in": null, "help": null },
        "pl": { "opted_out": "Wypisano", "opted_in": "{name} zaprasza", "help": null },
    });
    assert_eq!((&saved["reply_texts"], &saved["language"]), (&shown, &json!("en")));
    assert_eq!(told(&world, 1, "BAJA").await, "Acme: Adiós & gracias");
    assert!(told(&world, 1, "AYUDA").await.starts_with("Acme: Responda STOP"));
    assert_eq!(told(&world, 2, "wypisz").await, "Wypisano");
    // A name that is no longer there: the text cannot be said any more.
    let kept = save(&world.service, "default", json!({ "display_name": null })).await;
    assert_eq!(kept["reply_texts"], shown);
    assert!(told(&world, 3, "BAJA").await.starts_with("Su baja es efectiva"));
    world.service.kill();
    world.service.start_again();
    assert_eq!(told(&world, 4, "wypisz").await, "Wypisano");
    let cleared = save(&world.service, "default", json!({ "reply_texts": null })).await;
    assert_eq!(cleared["reply_texts"], json!({}));
    assert!(told(&world, 5, "wypisz").await.starts_with("You are unsubscribed"));
}

async fn words_that_all_languages_use_are_answered_in_the_organizations_language(on: On) {
    let world = World::start(on).await;
    let saved = save(&world.service, "default", json!({ "language": "es" })).await;
    assert_eq!(saved["language"], "es");
    for (person, word) in (0..).zip(["STOP", "stop all", "opt-out", "STPO", "STOP please", "退订"]) {
        assert!(told(&world, person, word).await.starts_with("Su baja es efectiva"), "{word}");
    }
    assert!(told(&world, 0, "JOIN").await.starts_with("Ha aceptado"));
    assert!(told(&world, 10, "help").await.starts_with("Responda STOP"));
    // A word of several languages, of which the organization's is one.
    assert!(told(&world, 14, "PARAR").await.starts_with("Su baja"));
    // Other languages, English among them, are answered in their own.
    assert!(told(&world, 11, "ARRET").await.starts_with("Votre"));
    assert!(told(&world, 12, "please stop sending me messages").await.starts_with("You are unsubscribed"));
    save(&world.service, "default", json!({ "language": null })).await;
    assert!(told(&world, 13, "STOP").await.starts_with("You are unsubscribed"));
}

async fn a_configured_text_is_of_one_language(on: On) {
    let settings = [
        ("TEXTLEDGER_REPLY_LANGUAGE", "de"),
        ("TEXTLEDGER_OPT_OUT_REPLY", "{name}: Das war es."),
        ("TEXTLEDGER_SENDER_NAME", "Acme"),
    ];
    let world = World::start_with(on, &settings).await;
    for (person, word) in (0..).zip(["STOP", "ABMELDEN", "退订"]) {
        assert_eq!(told(&world, person, word).await, "Acme: Das war es.", "{word}");
    }
    assert!(told(&world, 10, "ARRET").await.starts_with("Acme : Votre désabonnement"));
    assert!(told(&world, 10, "HELP").await.starts_with("Acme: Antworten Sie"));
    let own = json!({ "reply_texts": { "de": { "opted_out": "Tschüss" } } });
    save(&world.service, "default", own).await;
    assert_eq!(told(&world, 11, "STOP").await, "Tschüss");
}

async fn the_words_of_another_organization_are_not_used(on: On) {
    let world = World::start(on).await;
    let acme = json!({
        "account_sid": OTHER_ACCOUNT, "auth_token": OTHER_TOKEN, "display_name": "Acme", "language": "fr",
        "reply_texts": { "fr": { "opted_out": "{name} : Adieu" }, "en": { "opted_out": "{name}: Bye" } },
    });
    save(&world.service, "acme", acme).await;
    assert!(told(&world, 1, "STOP").await.starts_with("You are unsubscribed"));
    assert!(told(&world, 2, "ARRET").await.starts_with("Votre désabonnement"));
    let form: Vec<_> = reply("SM00000000000000000000000000000098", "whatsapp:+14155550003", "STOP")
        .into_iter()
        .map(|(name, value)| (name, if name == "AccountSid" { OTHER_ACCOUNT } else { value }))
        .collect();
    let answer = world.service.webhook_signed_with(OTHER_TOKEN, INBOUND, &form).await;
    assert_eq!(message(&answer.text().await.unwrap()), "Acme : Adieu");
}

async fn a_text_that_cannot_be_said_is_refused_by_its_name(on: On) {
    let service = TestService::start(on).await;
    let wrong = json!({
        "display_name": "x".repeat(61), "help_contact": "one\ntwo", "language": "Klingon",
        "reply_texts": {
            "tlh": { "opted_out": "x" },
            "es": { "opted_out": "Adiós, {nombre}", "opted_in": "é".repeat(1_601), "bye": "x" },
            "fr": "x",
        },
    });
    let (status, problem) = service.post_in("default", SETTINGS, &wrong).await;
    assert_eq!((status, &problem["code"]), (422, &json!("validation_failed")), "{problem}");
    let errors = problem["errors"].as_array().unwrap();
    let mut fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    fields.sort_unstable();
    let expected = [
        "display_name",
        "help_contact",
        "language",
        "reply_texts.es.bye",
        "reply_texts.es.opted_in",
        "reply_texts.es.opted_out",
        "reply_texts.fr",
        "reply_texts.tlh",
    ];
    assert_eq!(fields, expected, "{problem}");
    let detail = errors.iter().find(|error| error["field"] == "reply_texts.es.opted_out").unwrap();
    assert!(detail["detail"].as_str().unwrap().contains("{help_contact}"), "{detail}");
    assert_eq!(service.get_in("default", SETTINGS).await.1["reply_texts"], json!({}));
}
