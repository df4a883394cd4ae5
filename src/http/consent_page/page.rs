//! The page as a document: headings, texts and forms, which say the same without style and work without script.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::STANDARD};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::{
    choice::Choice,
    texts::{ChannelTexts, Texts, TroubleTexts},
};
use crate::{
    app::consents::own_page::{Gets, Subscription},
    domain::{
        UnixMs,
        consent::{ConsentChannel, ConsentState},
    },
};

/// The style of every page.
const STYLE: &str = include_str!("page.css");

/// A page loads nothing, runs nothing, has the style above, sends its forms to us and stands in nobody's frame.
pub static CONTENT_SECURITY_POLICY: LazyLock<String> = LazyLock::new(|| {
    let style = STANDARD.encode(Sha256::digest(STYLE));
    format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
});

/// What a person's page shows.
pub struct OwnPage<'a> {
    /// Who sends, if that is known.
    pub sender: Option<&'a str>,
    /// Where the person can ask, if that is known.
    pub help_contact: Option<&'a str>,
    /// The end of the person's number, if they have one.
    pub number_ending: Option<&'a str>,
    /// Until when the link is good.
    pub expires_at: UnixMs,
    /// How they stand on each channel.
    pub subscriptions: &'a [Subscription],
    /// What they have just chosen.
    pub done: Option<Choice>,
}

impl OwnPage<'_> {
    /// The document.
    pub fn document(&self, texts: &Texts) -> Markup {
        let heading = match self.sender {
            Some(sender) => texts.title.replace("{sender}", sender),
            None => texts.title_without_sender.clone(),
        };
        let done = self.done.map(|choice| done(texts, choice));
        // Said first, since a page that loads anew is known by its title to whoever does not see it.
        let title = match done {
            Some(done) => format!("{done} – {heading}"),
            None => heading.clone(),
        };
        let stops_everything =
            self.subscriptions.iter().all(|subscription| subscription.wish == ConsentState::OptedOut);
        let content = html! {
            h1 { (heading) }
            @if let Some(done) = done {
                p.notice role="status" tabindex="-1" autofocus { (done) }
            }
            p {
                @match self.number_ending {
                    Some(ending) => { (texts.about.replace("{ending}", ending)) }
                    None => { (texts.about_without_number) }
                }
            }
            @for subscription in self.subscriptions {
                (channel(texts, subscription))
            }
            @if !stops_everything && self.subscriptions.len() > 1 {
                form method="post" { (button(Choice::STOP_ALL, &texts.stop_all)) }
            }
            footer {
                p { (texts.stop_anyway) }
                @if let Some(contact) = self.help_contact {
                    p { (texts.help.replace("{contact}", contact)) }
                }
                p { (texts.expires.replace("{date}", &texts.date(self.expires_at))) }
            }
        };
        document(texts, &title, content)
    }
}

/// A page in place of the person's own, with what to do.
pub fn trouble(texts: &Texts, trouble: &TroubleTexts) -> Markup {
    let content = html! {
        h1 { (trouble.title) }
        p { (trouble.text) }
        p { (texts.stop_anyway) }
    };
    document(texts, &trouble.title, content)
}

fn document(texts: &Texts, title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(texts.code) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex, nofollow";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main { (content) }
                nav aria-label=(texts.languages) {
                    ul {
                        @for other in Texts::all() {
                            li lang=(other.code) {
                                @if other.code == texts.code {
                                    span aria-current="true" { (other.name) }
                                } @else {
                                    a href={ "?lang=" (other.code) } hreflang=(other.code) { (other.name) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// How the person stands on a channel, and the buttons that change it.
fn channel(texts: &Texts, subscription: &Subscription) -> Markup {
    let (name, said) = (subscription.channel.as_str(), channel_texts(texts, subscription.channel));
    let gets = match subscription.gets {
        Gets::Messages => &texts.gets_messages,
        Gets::AllButMarketing => &texts.gets_all_but_marketing,
        Gets::NothingYet => &texts.gets_nothing_yet,
        Gets::Nothing => &texts.gets_nothing,
    };
    let stop = Choice::new(ConsentState::OptedOut, subscription.channel);
    let start = Choice::new(ConsentState::OptedIn, subscription.channel);
    // Whom only Twilio's block keeps from messages has nothing to start here.
    let may_start = match subscription.gets {
        Gets::Messages => false,
        Gets::AllButMarketing | Gets::NothingYet => true,
        Gets::Nothing => subscription.wish != ConsentState::OptedIn,
    };
    let may_stop = !may_start || subscription.gets != Gets::Nothing;
    html! {
        section aria-labelledby=(name) {
            h2 id=(name) { (said.name) }
            p {
                span.state { (gets) }
                @if let Some(since) = subscription.since {
                    " "
                    span.since { (texts.since.replace("{date}", &texts.date(since))) }
                }
            }
            @for number in subscription.blocked_senders.iter().filter(|name| is_number(name)) {
                p { (texts.blocked.replace("{number}", number)) }
            }
            @if subscription.is_blocked && !subscription.blocked_senders.iter().any(|name| is_number(name)) {
                p { (texts.blocked_somewhere) }
            }
            form method="post" {
                @if may_stop { (button(stop, &said.stop)) }
                @if may_start { (button(start, &said.start)) }
            }
        }
    }
}

/// Whether a blocked sender is one that a person can write to, and not the SID of a messaging service.
fn is_number(name: &str) -> bool {
    name.starts_with('+') || name.bytes().all(|byte| byte.is_ascii_digit())
}

fn button(choice: Choice, label: &str) -> Markup {
    html! { button type="submit" name="choice" value=(choice.as_str()) { (label) } }
}

fn done(texts: &Texts, choice: Choice) -> &str {
    match (choice.channel, choice.wish) {
        (ConsentChannel::All, _) => &texts.stopped_all,
        (channel, ConsentState::OptedOut) => &channel_texts(texts, channel).stopped,
        (channel, _) => &channel_texts(texts, channel).started,
    }
}

fn channel_texts(texts: &Texts, channel: ConsentChannel) -> &ChannelTexts {
    match channel {
        ConsentChannel::Whatsapp => &texts.whatsapp,
        ConsentChannel::Sms | ConsentChannel::All => &texts.sms,
    }
}
