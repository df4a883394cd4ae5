//! What replies mean, by kind, and what must hold for any text.

use proptest::{prelude::*, sample::select};

use super::*;
use crate::twilio::segments::BODY_CHARACTERS_MAX;

fn read(text: &str) -> Reading {
    ReplyReader::default().read(text, Channel::Sms)
}

fn keyword(text: &str) -> Option<(String, KeywordKind, bool)> {
    match read(text).meaning {
        Meaning::Keyword(Keyword { kind, word, twilio_acts }) => Some((word, kind, twilio_acts)),
        _ => None,
    }
}

/// Every one of `texts`, separated by ` / ` or a new line, must mean what is said.
fn assert_means(expected: &Meaning, texts: &str) {
    let reader = ReplyReader::default();
    for text in texts.lines().flat_map(|line| line.split(" / ")).map(str::trim) {
        let text = text.replace("\\n", "\n");
        assert_eq!(&reader.read(&text, Channel::Sms).meaning, expected, "{text}");
    }
}

#[test]
fn a_reply_tells_the_language_of_its_writer_unless_everybody_uses_the_word() {
    use Language::{English, French, German, Portuguese, Spanish, Swedish};
    let reader = ReplyReader::default();
    let written_in = |text, expected| reader.written_in(&reader.read(text, Channel::Sms), expected);
    for text in [
        "STOP",
        "stop all",
        "opt-out",
        "UNSTOP",
        "HELP",
        "info",
        "JOIN",
        "join green-fox",
        "STPO",
        "stop please",
    ] {
        assert_eq!(written_in(text, Spanish), None, "{text}");
    }
    for (text, expected, found) in [
        ("ARRET", English, French),
        ("ARRET", Spanish, French),
        ("ABMELDEN", English, German),
        ("subscribe", Spanish, English),
        ("please stop texting me", Spanish, English),
        ("ne m'envoyez plus de messages", English, French),
        // Words of several languages.
        ("PARAR", English, Portuguese),
        ("PARAR", Spanish, Spanish),
        ("STOPP", English, German),
        ("STOPP", Swedish, Swedish),
    ] {
        assert_eq!(written_in(text, expected), Some(found), "{text}, {expected}");
    }
}

#[test]
fn every_keyword_of_twilio_is_read_as_what_it_asks_for() {
    for (text, kind) in [
        ("STOP", OPT_OUT),
        ("STOPALL", OPT_OUT_ALL),
        ("UNSUBSCRIBE", OPT_OUT),
        ("CANCEL", OPT_OUT),
        ("END", OPT_OUT),
        ("QUIT", OPT_OUT),
        ("REVOKE", OPT_OUT),
        ("OPTOUT", OPT_OUT),
        ("START", OPT_IN),
        ("UNSTOP", OPT_IN),
        ("YES", OPT_IN_IF_OUT),
        ("HELP", KeywordKind::Help),
        ("INFO", KeywordKind::Help),
    ] {
        assert_eq!(keyword(text), Some((text.to_owned(), kind, true)));
        assert_eq!(read(text).rule, Rule::Keyword);
        assert_eq!(read(text).language, Some(Language::English));
    }
}

#[test]
fn words_that_twilio_does_not_act_on_are_keywords_too() {
    for (text, word, kind, language) in [
        ("Opt-Out", "OPT OUT", OPT_OUT, Language::English),
        ("stop all!", "STOP ALL", OPT_OUT_ALL, Language::English),
        ("STOP2END", "STOP2END", OPT_OUT, Language::English),
        ("Stop promotions", "STOP PROMOTIONS", OPT_OUT, Language::English),
        ("No more ads", "NO MORE ADS", OPT_OUT, Language::English),
        ("Subscribe", "SUBSCRIBE", OPT_IN, Language::English),
        ("arrêt", "ARRÊT", OPT_OUT, Language::French),
        ("ARRET.", "ARRÊT", OPT_OUT, Language::French),
        ("Aide?", "AIDE", KeywordKind::Help, Language::French),
        ("baja", "BAJA", OPT_OUT, Language::Spanish),
        ("Abmelden", "ABMELDEN", OPT_OUT, Language::German),
        ("СТОП", "СТОП", OPT_OUT, Language::Russian),
        ("退訂", "退订", OPT_OUT, Language::Chinese),
    ] {
        assert_eq!(keyword(text), Some((word.to_owned(), kind, false)), "{text}");
        assert_eq!(read(text).language, Some(language), "{text}");
    }
}

#[test]
fn a_keyword_is_read_under_a_signature_and_beside_a_quotation_but_twilio_saw_more_than_the_word() {
    for text in ["STOP\nSent from my iPhone", "STOP - Bill", "“Acme: Sale! Reply STOP to end”\n\nstop"] {
        assert_eq!(keyword(text), Some(("STOP".into(), OPT_OUT, false)), "{text}");
    }
}

#[test]
fn yes_opts_in_over_sms_and_rcs_and_is_an_answer_over_whatsapp() {
    let reader = ReplyReader::default();
    for channel in [Channel::Sms, Channel::Rcs] {
        assert!(matches!(reader.read("Yes!", channel).meaning, Meaning::Keyword(_)));
    }
    assert_eq!(reader.read("Yes!", Channel::Whatsapp).meaning, Meaning::Ordinary);
}

#[test]
fn join_opts_in_alone_and_with_a_code() {
    let further = FurtherWords { join_codes: vec!["News".into()], ..Default::default() };
    let reader = ReplyReader::with_further(&further).unwrap();
    let opts_in = |text: &str| matches!(reader.read(text, Channel::Sms).meaning, Meaning::Keyword(_));
    for text in ["join", "JOIN!", "join green-fox", "“Join green-fox”", "join news", "JOIN NEWS."] {
        assert!(opts_in(text), "{text}");
    }
    for text in [
        "Join us",
        "join us at 5",
        "join acme",
        "join zoom?",
        "please join",
        "join-acme",
        "join the well-known club",
    ] {
        assert!(!opts_in(text), "{text}");
    }
}

#[test]
fn a_slip_of_the_thumb_is_seen_unless_it_makes_another_word() {
    assert_means(
        &Meaning::Phrase,
        "STPO / sotp / unsuscribe / unsubscibe / cancle / 5top / $top / st0p / stop1 / STOPSTOP / opt oit / stoppppp",
    );
    assert_means(&Meaning::Review, "dtop / atop / stahp / revoked");
    assert_means(
        &Meaning::Ordinary,
        "shop / step / stops / spot / top / quiet / remote / cancelled / ends / starts",
    );
}

#[test]
fn clear_requests_are_obeyed() {
    assert_means(
        &Meaning::Phrase,
        "please stop texting me / remove me from your list / do not message me again / unsubscribe me please
         STOP 12345 / Stop. Thank you / Please stop / plz stop!! / can you stop it / STOP! STOP! STOP! / stop unsubscribe
         I said STOP! / can you please stop / make it stop / Stop texting me! / stop msging me
         stop messaging this number / I want you to stop texting me / stop texting me. I am not John
         Stop texting me, you have the wrong number / no, stop texting me / stop sending me messages
         stop these texts / Cease all communications / no more texts / Don’t text me! / never contact me again
         don't send me texts / I don't want these messages / I no longer wish to receive text messages
         unsubscribe from all / I'd like to unsubscribe please / I want to opt out of these texts / remove my number
         take me off your list / I revoke my consent / cease and desist / You're harassing me, stop
         arrêtez s'il vous plaît / Bitte keine SMS mehr / no me escriban más / не пишите мне больше / 不要再联系我
         मुझे मैसेज मत भेजो / もう送らないで / 문자 보내지 마세요 / لا ترسلوا لي رسائل / תפסיקו לשלוח לי הודעות",
    );
}

#[test]
fn what_may_be_a_request_is_looked_at() {
    assert_means(
        &Meaning::Review,
        "ok stop / yes stop / please cancel / ok, quit / don't text me on Sundays / stop texting me before 8
         how do I unsubscribe / how do i stop these messages? / if this is a bot, unsubscribe me / stop calling me
         go away / fuck off / wrong number / you have the wrong number / not interested / Stop it, you make me laugh
         I will sue you / mauvais numéro / kein Interesse / número equivocado",
    );
}

#[test]
fn what_speaks_of_something_else_is_ordinary() {
    assert_means(
        &Meaning::Ordinary,
        "stop by at 5? / can you stop at the shop / bus stop / full stop / don't stop / please don't stop
         don't stop sending me these / never stop texting me / I don't want you to stop / don't unsubscribe me
         do not remove me from your list / I can't stop laughing / did you stop texting me? / you stopped
         why did you stop texting me / I told them to stop texting me / does stop work? / next stop / stop sign
         stop and shop / Reply STOP to unsubscribe / cancel my appointment / the end is near / I quit my job
         I want to stop / don't text and drive / never mind / no / ok thanks / 12345 / 👍 / 🛑 / ? / ...
         who is this? / start the car / Join us / no dejes de escribirme / nicht aufhören / 不要停 / バス停にいます",
    );
}

#[test]
fn a_button_is_read_like_a_reply_where_the_text_says_nothing() {
    let form = |pairs: &[(&'static str, &'static str)]| {
        let common = [
            ("MessageSid", "SM00000000000000000000000000000001"),
            ("AccountSid", "AC00000000000000000000000000000001"),
            ("From", "whatsapp:+14155550100"),
            ("To", "whatsapp:+14155550101"),
        ];
        let form: crate::twilio::Form<'_> =
            common.iter().chain(pairs).map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        ReplyReader::default().read_message(&IncomingMessage::parse(&form).unwrap())
    };
    let opts_out = |reading: Reading| matches!(reading.meaning, Meaning::Phrase | Meaning::Keyword(_));
    assert!(opts_out(form(&[
        ("Body", "Nein danke"),
        ("ButtonText", "Nein danke"),
        ("ButtonPayload", "STOP")
    ])));
    assert!(opts_out(form(&[("Body", ""), ("ButtonText", "Stop promotions")])));
    assert_eq!(form(&[("Body", "OK"), ("ButtonPayload", "order-17")]).meaning, Meaning::Ordinary);
}

#[test]
fn further_words_are_read_in_their_folded_form_and_beside_courtesy() {
    let further = FurtherWords {
        opt_out: vec![" Adiós! ".into(), "stop".into(), "Genug".into()],
        opt_in: vec!["zurück".into()],
        help: vec!["wer".into()],
        ..Default::default()
    };
    let reader = ReplyReader::with_further(&further).unwrap();
    for (text, word, kind, twilio_acts) in [
        ("adios", "ADIÓS!", OPT_OUT, false),
        ("ADIO\u{301}S", "ADIÓS!", OPT_OUT, false),
        ("genug", "GENUG", OPT_OUT, false),
        ("ZURUCK", "ZURÜCK", OPT_IN, false),
        ("wer?", "WER", KeywordKind::Help, false),
        ("stop", "STOP", OPT_OUT, true),
    ] {
        let keyword = Keyword { kind, word: word.into(), twilio_acts };
        assert_eq!(reader.read(text, Channel::Sms).meaning, Meaning::Keyword(keyword), "{text}");
    }
    assert_eq!(reader.read("genug bitte", Channel::Sms).meaning, Meaning::Phrase);
}

#[test]
fn a_further_word_must_mean_something_and_one_thing_only() {
    let add = |opt_out: &str, opt_in: &str| {
        let words = |word: &str| if word.is_empty() { vec![] } else { vec![word.to_owned()] };
        let further = FurtherWords { opt_out: words(opt_out), opt_in: words(opt_in), ..Default::default() };
        ReplyReader::with_further(&further).map(drop)
    };
    assert_eq!(add("", ""), Ok(()));
    assert_eq!(add("", "yes"), Ok(()));
    assert_eq!(add("🛑", ""), Err(InvalidWord::Empty("🛑".into())));
    assert_eq!(add("", "Stop"), Err(InvalidWord::Contradiction("Stop".into())));
    assert_eq!(add("", "arrêt"), Err(InvalidWord::Contradiction("arrêt".into())));
    assert_eq!(add("zzz", "Zzz!"), Err(InvalidWord::Contradiction("Zzz!".into())));
}

#[test]
fn nothing_is_read_past_the_longest_body() {
    let padded = |blanks: usize| format!("stop{}x", " ".repeat(blanks));
    assert_eq!(keyword(&padded(BODY_CHARACTERS_MAX - 5)), None);
    assert!(keyword(&padded(BODY_CHARACTERS_MAX - 4)).is_some());
    assert_means(&Meaning::Phrase, &"stop ".repeat(1_000_000));
    assert_means(&Meaning::Ordinary, &"ok thanks ".repeat(1_000_000));
}

#[test]
fn what_an_earlier_version_stored_is_still_read() {
    let stored = [
        (r#""phrase""#, Meaning::Phrase),
        (r#""review""#, Meaning::Review),
        (r#""ordinary""#, Meaning::Ordinary),
        (
            r#"{"keyword":{"kind":{"opt_out":{"all":true}},"word":"STOPALL","twilio_acts":true}}"#,
            Meaning::Keyword(Keyword { kind: OPT_OUT_ALL, word: "STOPALL".into(), twilio_acts: true }),
        ),
    ];
    for (text, meaning) in stored {
        let expected = Reading { meaning, rule: Rule::OtherVersion, language: None };
        assert_eq!(serde_json::from_str::<Reading>(text).unwrap(), expected, "{text}");
    }
    for text in
        ["STOP", "please stop texting me", "wrong number", "hello", "Liked “Reply STOP to opt out now”"]
    {
        let reading = read(text);
        let stored = serde_json::to_string(&reading).unwrap();
        assert_eq!(serde_json::from_str::<Reading>(&stored).unwrap(), reading, "{stored}");
    }
    let later = r#"{"meaning":"review","rule":"a-rule-to-come","language":null}"#;
    assert_eq!(serde_json::from_str::<Reading>(later).unwrap().rule, Rule::OtherVersion);
}

/// Something that may stand around a keyword without changing it.
fn decoration() -> impl Strategy<Value = String> {
    const PARTS: &[&str] =
        &[" ", "\n", "\t", ".", "!", "?", ",", "'", "\"", "“", "”", "*", "_", "-", "(", ")", "…", "🛑", "👍🏽"];
    prop::collection::vec(select(PARTS), 0..6).prop_map(|parts| parts.concat())
}

/// `word` with each letter in a case and width of its own, and sometimes a mark of no width behind it.
fn respelled(word: &str, choices: &[u8]) -> String {
    let mut text = String::new();
    for (character, choice) in word.chars().zip(choices.iter().cycle()) {
        let character = if choice & 1 == 0 { character } else { character.to_ascii_lowercase() };
        match character {
            'A'..='Z' | 'a'..='z' if choice & 2 == 0 => {
                text.push(char::from_u32(u32::from(character) + 0xfee0).unwrap())
            }
            _ => text.push(character),
        }
        if choice & 12 == 12 {
            text.push('\u{200d}');
        }
    }
    text
}

const SAMPLE: &[&str] = &[
    "STOP",
    "STOP ALL",
    "UNSUBSCRIBE",
    "CANCEL",
    "ARRÊT",
    "BAJA",
    "ABMELDEN",
    "СТОП",
    "退订",
    "START",
    "HELP",
    "AIDE",
];

proptest! {
    #[test]
    fn any_case_width_and_decoration_of_a_keyword_reads_the_same(
        word in select(SAMPLE),
        choices in prop::collection::vec(any::<u8>(), 1..12),
        (before, after) in (decoration(), decoration()),
    ) {
        let text = format!("{before}{}{after}", respelled(word, &choices));
        prop_assert_eq!(keyword(&text), keyword(word));
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "\\PC{0,200}", other in any::<String>()) {
        let reader = ReplyReader::default();
        reader.read(&text, Channel::Sms);
        reader.read(&other, Channel::Whatsapp);
    }

    #[test]
    fn courtesy_keeps_a_request_clear(
        before in select(&["", "please ", "OK, ", "Hi! ", "can you ", "Thanks, but "][..]),
        request in select(&["stop texting me", "remove me from your list", "do not message me again"][..]),
        after in select(&["", "!", " please", ", thank you.", " NOW", ". Thanks!", " 🙏"][..]),
    ) {
        prop_assert_eq!(read(&format!("{before}{request}{after}")).meaning, Meaning::Phrase);
    }

    #[test]
    fn a_negated_request_is_none(
        negation in select(&["don't ", "do not ", "please don't ", "never ", "Hey, please do not "][..]),
        request in select(&["stop", "stop texting me", "remove me", "unsubscribe me", "stop texts"][..]),
    ) {
        prop_assert_eq!(read(&format!("{negation}{request}")).meaning, Meaning::Ordinary);
    }
}
