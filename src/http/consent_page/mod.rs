//! The page that a link leads to, on which one person sees what they get and changes it. It is for whoever opens it: it asks
//! for no token but the one in its URL, speaks the reader's language, and answers what goes wrong with a page too.
//!
//! Looking changes nothing, since programs open links as well: to preview them, or to look for viruses.

mod choice;
mod page;
mod texts;

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, CONTENT_TYPE},
    },
    web,
};
use maud::Markup;

use self::{
    choice::Choice,
    page::OwnPage,
    texts::{Texts, TroubleTexts},
};
use super::{
    State,
    verification::{BODY_TIME_MAX, FORM},
};
use crate::{
    app::consents::{link::Link, own_page::OwnWish, preferences::OWN_CHANGES_PERIOD},
    domain::AccountSettings,
    store,
    twilio::{Address, BareAddress, Channel},
};

/// The longest form of the page, in bytes; its own are some twenty.
const FORM_BYTES_MAX: usize = 1024;

/// How much of the end of a number a person needs to know their own.
const ENDING_CHARACTERS: usize = 4;

/// The fewest characters of a number of which so much may be shown.
const SHOWN_CHARACTERS_MIN: usize = 8;

/// After how long a store that is away is worth another try.
const UNAVAILABLE_RETRY: Duration = Duration::from_secs(60);

/// Why there is no page to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The token is none of ours.
    Unknown,
    /// The link was good once.
    Expired,
    /// The form is none of the page's.
    Unreadable,
    /// The page was asked for too often, and may be again after a while.
    TooMany(Duration),
    /// The store failed.
    Unavailable,
}

impl From<store::Error> for Trouble {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the store failed");
        Trouble::Unavailable
    }
}

impl Trouble {
    fn status(self) -> StatusCode {
        match self {
            Trouble::Unknown => StatusCode::NOT_FOUND,
            Trouble::Expired => StatusCode::GONE,
            Trouble::Unreadable => StatusCode::BAD_REQUEST,
            Trouble::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Trouble::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn texts(self, texts: &Texts) -> &TroubleTexts {
        match self {
            Trouble::Unknown => &texts.unknown,
            Trouble::Expired => &texts.expired,
            Trouble::Unreadable => &texts.unreadable,
            Trouble::TooMany(_) => &texts.too_many,
            Trouble::Unavailable => &texts.unavailable,
        }
    }

    fn retry_after(self) -> Option<Duration> {
        match self {
            Trouble::TooMany(wait) => Some(wait),
            Trouble::Unavailable => Some(UNAVAILABLE_RETRY),
            Trouble::Unknown | Trouble::Expired | Trouble::Unreadable => None,
        }
    }
}

/// `GET /consent/{token}`.
pub async fn show(state: web::Data<State>, request: HttpRequest) -> HttpResponse {
    let (texts, link) = visit(&state, &request);
    let shown = async { own_page(&state, &link?, &request, texts).await };
    match shown.await {
        Ok(document) => answer(StatusCode::OK, texts, document),
        Err(trouble) => refuse(trouble, texts),
    }
}

/// `POST /consent/{token}`: makes the change of a button, and leads back to the page, which confirms it.
pub async fn change(state: web::Data<State>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    let (texts, link) = visit(&state, &request);
    let changed = async { record(&state, &link?, read_choice(&request, payload).await?).await };
    match changed.await {
        Ok(choice) => {
            let language = query(&request, "lang").map_or(String::new(), |_| format!("lang={}&", texts.code));
            // Relative, so that it leads back whatever path a proxy has put in front.
            let place = format!("?{language}done={}", choice.as_str());
            HttpResponse::SeeOther()
                .insert_header((header::LOCATION, place))
                .insert_header((header::CACHE_CONTROL, "no-store"))
                .finish()
        }
        Err(trouble) => refuse(trouble, texts),
    }
}

/// In which language to answer, and the link of the request's URL if it is good: the language that the reader chose, else
/// the one that the link was made for, else the browser's.
fn visit(state: &State, request: &HttpRequest) -> (&'static Texts, Result<Link, Trouble>) {
    let link = request.match_info().get("token").and_then(|token| state.app.consents.read_link(token));
    let chosen = query(request, "lang").and_then(|code| Texts::of(&code));
    let known = || link.as_ref()?.language.and_then(|language| Texts::of(language.code()));
    let accepted = || {
        let accepted = request.headers().get(header::ACCEPT_LANGUAGE)?;
        Texts::accepted(accepted.to_str().ok()?)
    };
    let texts = chosen.or_else(known).or_else(accepted).unwrap_or_else(Texts::usual);
    // A link counts by its person, what is none by its peer: so nobody shuts people out who share their proxy.
    let counted = match &link {
        Some(link) => state.rate_limit.count_link(&link.organization, &link.person),
        None => state.rate_limit.count_unknown(request.peer_addr().map(|peer| peer.ip())),
    };
    let link = match (counted, link) {
        (Err(problem), _) => Err(Trouble::TooMany(problem.retry_after().unwrap_or_default())),
        (Ok(()), None) => Err(Trouble::Unknown),
        (Ok(()), Some(link)) if link.expires_at <= state.app.now_ms() => Err(Trouble::Expired),
        (Ok(()), Some(link)) => Ok(link),
    };
    (texts, link)
}

async fn own_page(
    state: &State,
    link: &Link,
    request: &HttpRequest,
    texts: &Texts,
) -> Result<Markup, Trouble> {
    let account = state.app.accounts.find(&link.organization);
    let account = account.as_ref().map(|account| account.settings.as_ref());
    let subscriptions =
        state.app.consents.of(&link.organization).subscriptions(&link.person, account).await?;
    let identity = state.app.accounts.of(&link.organization).identity();
    let done = query(request, "done").and_then(|word| Choice::parse(&word));
    let page = OwnPage {
        sender: identity.name.as_deref().or_else(|| account.and_then(usual_sender)),
        help_contact: identity.help_contact.as_deref(),
        number_ending: ending(&link.person),
        expires_at: link.expires_at,
        subscriptions: &subscriptions,
        done: done.filter(|choice| choice.is_so(&subscriptions)),
    };
    Ok(page.document(texts))
}

async fn record(state: &State, link: &Link, choice: Choice) -> Result<Choice, Trouble> {
    let consents = state.app.consents.of(&link.organization);
    match consents.record_own_wish(&link.person, choice.channel, choice.wish).await? {
        OwnWish::Recorded => state.app.metrics().consent_link_change(choice.wish.as_str()),
        OwnWish::Known => {}
        OwnWish::TooOften => return Err(Trouble::TooMany(OWN_CHANGES_PERIOD)),
    }
    Ok(choice)
}

/// The choice in a form that the page sent.
async fn read_choice(request: &HttpRequest, payload: web::Payload) -> Result<Choice, Trouble> {
    let essence = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = essence.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case(FORM) {
        return Err(Trouble::Unreadable);
    }
    let body = tokio::time::timeout(BODY_TIME_MAX, payload.to_bytes_limited(FORM_BYTES_MAX)).await;
    let Ok(Ok(Ok(body))) = body else { return Err(Trouble::Unreadable) };
    let choice = value(&body, "choice").and_then(|word| Choice::parse(&word));
    choice.ok_or(Trouble::Unreadable)
}

fn refuse(trouble: Trouble, texts: &Texts) -> HttpResponse {
    let mut response = answer(trouble.status(), texts, page::trouble(texts, trouble.texts(texts)));
    if let Some(wait) = trouble.retry_after() {
        let seconds = wait.as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// A page that is in nobody's cache, index, frame or referrer: its URL is all that it takes to act for the person.
fn answer(status: StatusCode, texts: &Texts, document: Markup) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_LANGUAGE, texts.code))
        .insert_header((header::CONTENT_SECURITY_POLICY, page::CONTENT_SECURITY_POLICY.as_str()))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header(("X-Robots-Tag", "noindex, nofollow"))
        .body(document.into_string())
}

/// Who sends to a person that knows no name of theirs: the number on their phone.
fn usual_sender(account: &AccountSettings) -> Option<&str> {
    let sender = account.sender(Channel::Sms).or_else(|| account.sender(Channel::Whatsapp));
    sender.map(Address::bare).map(BareAddress::as_str)
}

/// The end of a person's number, by which they know it and nobody else does; none of a user id.
fn ending(person: &BareAddress) -> Option<&str> {
    let is_shown = person.starts_with('+') && person.len() >= SHOWN_CHARACTERS_MIN;
    person.get(person.len().checked_sub(ENDING_CHARACTERS)?..).filter(|_| is_shown)
}

/// The first value of `name` in the request's query.
fn query(request: &HttpRequest, name: &str) -> Option<String> {
    value(request.query_string().as_bytes(), name)
}

/// The first value of `name` in a form.
fn value(form: &[u8], name: &str) -> Option<String> {
    let mut pairs = form_urlencoded::parse(form);
    pairs.find(|(known, _)| known == name).map(|(_, value)| value.into_owned())
}
