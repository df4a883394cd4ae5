//! The pages for people, without script: what is on them, how they are read out and reached by keyboard,
//! and whether they fit a small screen.

use serde_json::json;
use textledger::domain::Role;

use super::picture;
use crate::support::{
    browser::Browser,
    service::{On, PERSON, PUBLIC_URL, TestService, answer},
};

/// Tabs that reach everything on a page.
const TABS_MAX: usize = 20;

/// Goes by keyboard to what is called `name`.
async fn tab_to(browser: &mut Browser, role: &str, name: &str) {
    for _ in 0..TABS_MAX {
        browser.press_tab().await;
        if browser.focused().await.is_some_and(|(its, called)| its == role && called == name) {
            return;
        }
    }
    panic!("no {role} {name:?} is reached by keyboard");
}

/// The URL of a link's page on this machine, and its service.
async fn service_with_a_page() -> (TestService, String) {
    let settings = [("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL), ("TEXTLEDGER_SENDER_NAME", "Acme Water & Power")];
    let service = TestService::start_with(On::Embedded, &settings).await;
    let (_, link) =
        answer(service.post(Role::Sender, "/api/sms/consent/links", &json!({ "phone_number": PERSON })))
            .await;
    let url = service.url(link["url"].as_str().unwrap().strip_prefix(PUBLIC_URL).unwrap());
    (service, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_person_stops_and_starts_messages_by_keyboard_in_every_language() {
    for (language, heading, stop, stopped, start, started) in [
        (
            "en",
            "Your messages from Acme Water & Power",
            "Stop text messages",
            "Done. You get no more text messages.",
            "Get text messages",
            "Done. You agreed to get text messages.",
        ),
        (
            "es",
            "Sus mensajes de Acme Water & Power",
            "Dejar de recibir mensajes de texto",
            "Listo. Ya no recibirá mensajes de texto.",
            "Recibir mensajes de texto",
            "Listo. Usted aceptó recibir mensajes de texto.",
        ),
        (
            "fr",
            "Vos messages de Acme Water & Power",
            "Ne plus recevoir de SMS",
            "C’est fait. Vous ne recevrez plus de SMS.",
            "Recevoir des SMS",
            "C’est fait. Vous avez accepté de recevoir des SMS.",
        ),
        (
            "pt",
            "Suas mensagens de Acme Water & Power",
            "Parar as mensagens de texto",
            "Pronto. Você não receberá mais mensagens de texto.",
            "Receber mensagens de texto",
            "Pronto. Você aceitou receber mensagens de texto.",
        ),
        (
            "de",
            "Ihre Nachrichten von Acme Water & Power",
            "Keine SMS mehr erhalten",
            "Erledigt. Sie erhalten keine SMS mehr.",
            "SMS erhalten",
            "Erledigt. Sie haben zugestimmt, SMS zu erhalten.",
        ),
    ] {
        let (service, url) = service_with_a_page().await;
        let mut browser = Browser::without_script(language).await;
        browser.visit(&url).await;
        assert_eq!(browser.named("RootWebArea").await, [heading]);
        let headings = browser.named("heading").await;
        assert_eq!((headings.len(), headings[0].as_str()), (3, heading));
        assert_eq!(browser.named("main").await.len(), 1);
        assert_eq!(browser.named("button").await.len(), 3);
        assert_eq!(browser.named("link").await.len(), 4, "the other languages");

        tab_to(&mut browser, "button", stop).await;
        browser.press_enter().await;
        // Said first, by the title and by what has the focus.
        assert_eq!(browser.named("RootWebArea").await, [format!("{stopped} – {heading}")]);
        assert_eq!(browser.named("status").await.len(), 1);
        assert_eq!(browser.focused().await.map(|(role, _)| role).as_deref(), Some("status"));
        assert_eq!(consent(&service).await, "opted_out");
        for (width, is_dark) in [(1024, false), (320, false), (320, true)] {
            browser.look(width, is_dark).await;
            assert!(browser.content_width().await <= width.into(), "{language} at {width}");
            let look = if is_dark { "dark" } else { "light" };
            picture(&mut browser, &format!("{language}-stopped-{width}-{look}")).await;
        }

        tab_to(&mut browser, "button", start).await;
        browser.press_enter().await;
        assert_eq!(browser.named("RootWebArea").await, [format!("{started} – {heading}")]);
        assert_eq!(consent(&service).await, "opted_in");
        picture(&mut browser, &format!("{language}-started")).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_cut_off_tells_what_to_do_and_another_language_is_a_click_away() {
    let (_service, url) = service_with_a_page().await;
    let mut browser = Browser::without_script("de").await;
    browser.look(320, false).await;
    browser.visit(&url[..url.len() - 4]).await;
    assert_eq!(browser.named("heading").await, ["Dieser Link funktioniert nicht"]);
    assert!(browser.content_width().await <= 320);
    picture(&mut browser, "de-unknown").await;
    tab_to(&mut browser, "link", "Português").await;
    browser.press_enter().await;
    assert_eq!(browser.named("heading").await, ["Este link não funciona"]);
}

/// What is known of the person's wish on SMS.
async fn consent(service: &TestService) -> String {
    let request = service.get(Role::Viewer, "/api/sms/consent/%2B14155550100");
    answer(request).await.1["channels"]["sms"]["state"].as_str().unwrap().to_owned()
}
