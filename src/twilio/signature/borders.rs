//! Where one parameter ends and the next begins, which no signature tells.
//!
//! Twilio signs names and values without anything between them. So whoever has one signed request can cut the same text
//! in another way, and the signature still holds: a person who writes `STARTFrom+14155550100FromA` makes Twilio sign what
//! reads as a START of somebody else. What keeps a request from speaking for another person is that its text has one
//! place only at which the writer can stand, and one at which each copy of the message's SID can. Whether that is so
//! depends on the text alone, however it is cut. So of all the ways to cut it either none is let through, or all that are
//! name the same writer and the same message, which counts once.

use super::{Content, Request, Url, sorted_pairs, spelling::Query};

/// A parameter that tells of whom, or of what, a message is.
struct Decisive {
    name: &'static str,
    /// Longer names that end in this one.
    longer: &'static [&'static str],
    /// Whether a text begins with what may be its value.
    may_begin: fn(&[u8]) -> bool,
    /// Every message has it. Of one that some have not, a text may speak that has it not.
    is_always_there: bool,
}

const DECISIVE: [Decisive; 4] = [
    Decisive { name: "From", longer: &[], may_begin: begins_with_address, is_always_there: true },
    Decisive {
        name: "MessageSid",
        longer: &["OriginalRepliedMessageSid", "SmsMessageSid"],
        may_begin: |text| text.starts_with(b"SM") || text.starts_with(b"MM"),
        is_always_there: true,
    },
    Decisive {
        name: "ExternalUserId",
        longer: &["ParentExternalUserId"],
        may_begin: begins_with_user_id,
        is_always_there: false,
    },
    Decisive { name: "WaId", longer: &[], may_begin: |text| digits(text) >= 1, is_always_there: false },
];

/// The fewest digits of a number with a country code.
const NUMBER_DIGITS_MIN: usize = 7;

/// The fewest digits of a short code.
const SHORT_CODE_DIGITS_MIN: usize = 3;

/// The longest sender that is a name, in characters.
const NAME_CHARACTERS_MAX: usize = 11;

/// The parameters that can follow a `From` that is a name.
const AFTER_NAME: [&str; 3] = ["FromCity", "MediaContentType0", "MessageSid"];

/// What is no sender's name behind a `From`: the rest of another parameter's name, or the parameter itself behind a text
/// that ends in the word.
const NO_NAMES: [&str; 5] = ["City", "Country", "State", "Zip", "From"];

/// A parameter that decides of whom or of what the message is, and may begin at several places of what is signed of
/// `request`.
///
/// What a person writes is hardly ever such a text by chance: the name of the parameter, with its capitals, would have to
/// stand right before a number.
pub fn ambiguous_parameter(request: Request<'_>) -> Option<&'static str> {
    let pairs = match request.content {
        Content::Nothing => Vec::new(),
        Content::Form(form) => sorted_pairs(form),
        // The body's hash is signed, and a hash cannot be cut in another way.
        Content::Body(_) => return None,
    };
    let url = Url::split(request.url);
    // What stands in the query may have stood in the body, and the other way round.
    let respelled = [Query::Unescaped, Query::Escaped, Query::Legacy].map(|query| url.respelled_query(query));
    let mut queries = [Some(url.query().to_owned())].into_iter().chain(respelled).flatten();
    queries.find_map(|query| ambiguous_in(&query, &pairs))
}

fn ambiguous_in(query: &str, pairs: &[(&[u8], &[u8])]) -> Option<&'static str> {
    let mut text = query.as_bytes().to_vec();
    // Where each value begins, and of which parameter.
    let mut values = Vec::with_capacity(pairs.len());
    for (name, value) in pairs {
        text.extend_from_slice(name);
        values.push((text.len(), *name));
        text.extend_from_slice(value);
    }
    let is_ambiguous = |decisive: &&Decisive| {
        let name = decisive.name.as_bytes();
        let given = pairs.iter().filter(|(given, _)| *given == name).count();
        let is_of =
            |given: &[u8]| given == name || decisive.longer.iter().any(|longer| given == longer.as_bytes());
        let is_elsewhere = |at: usize| {
            let value = values.binary_search_by_key(&(at + name.len()), |(begin, _)| *begin);
            !value.is_ok_and(|index| is_of(values[index].1))
        };
        let may_stand_at =
            |at: usize| text[at] == name[0] && text[at..].strip_prefix(name).is_some_and(decisive.may_begin);
        let is_needed = decisive.is_always_there || given > 0;
        given > 1 || (is_needed && (0..text.len()).any(|at| may_stand_at(at) && is_elsewhere(at)))
    };
    DECISIVE.iter().find(is_ambiguous).map(|decisive| decisive.name)
}

/// An address of a person, as `From` has it: a number, a short code, an address on a channel with a prefix, or the name
/// under which a sender writes.
fn begins_with_address(text: &[u8]) -> bool {
    let begins_with = |start: &&str| text.starts_with(start.as_bytes());
    if let Some(number) = text.strip_prefix(b"+") {
        return digits(number) >= NUMBER_DIGITS_MIN;
    }
    if NO_NAMES.iter().any(begins_with) {
        return false;
    }
    let name = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || b" &+-_".contains(byte)).count();
    digits(text) >= SHORT_CODE_DIGITS_MIN
        || ["whatsapp:", "rcs:", "messenger:"].iter().any(|prefix| text.starts_with(prefix.as_bytes()))
        || (1..=NAME_CHARACTERS_MAX.min(name))
            // A name may be followed by `MessageSid`, but a text is as likely to be followed by `SmsMessageSid`.
            .filter(|end| !text[..*end].ends_with(b"Sms"))
            .any(|end| AFTER_NAME.iter().any(|next| text[end..].starts_with(next.as_bytes())))
}

/// A WhatsApp user's id: a country, a dot, and more.
fn begins_with_user_id(text: &[u8]) -> bool {
    let id = text.strip_prefix(b"whatsapp:").unwrap_or(text);
    matches!(id, [b'A'..=b'Z', b'A'..=b'Z', b'.', ..])
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::twilio::{
        Form,
        signature::{Algorithm, SigningKey, sign, signed_parameters},
        webhook::IncomingMessage,
    };

    const URL: &str = "https://sms.example.com/webhooks/twilio/inbound";
    const ACCOUNT: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const SID: &str = "SMbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const OTHER_SID: &str = "SMcccccccccccccccccccccccccccccccc";
    const VICTIM: &str = "+14155550199";

    type Pairs = Vec<(String, String)>;

    fn signature(url: &str, pairs: &Pairs) -> String {
        let key = SigningKey::new(Algorithm::HmacSha1, &"secret".into());
        sign(&key, url, &form(pairs))
    }

    fn form(pairs: &Pairs) -> Form<'_> {
        pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect()
    }

    fn ambiguous(url: &str, pairs: &Pairs) -> Option<&'static str> {
        ambiguous_parameter(Request { url, content: Content::Form(&form(pairs)) })
    }

    fn signed_text(pairs: &Pairs) -> String {
        String::from_utf8(signed_parameters(&form(pairs))).unwrap()
    }

    fn message(from: &str, more: &[(&str, &str)]) -> Pairs {
        let whatsapp = from.starts_with("whatsapp:");
        let always = [
            ("AccountSid", ACCOUNT),
            ("ApiVersion", "2010-04-01"),
            ("From", from),
            ("MessageSid", SID),
            ("NumMedia", "0"),
            ("NumSegments", "1"),
            ("SmsMessageSid", SID),
            ("SmsSid", SID),
            ("SmsStatus", "received"),
            ("To", "+15005550006"),
        ];
        let place =
            [("FromCity", "OAKLAND"), ("FromCountry", "US"), ("FromState", "CA"), ("FromZip", "94601")];
        let place = place.iter().filter(|_| !whatsapp);
        let pairs = always.iter().chain(place).chain(more).map(|(name, value)| (*name, *value));
        pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// `added` in the place of the parameters `removed`.
    fn recut(pairs: &Pairs, removed: &[&str], added: &[(&str, &str)]) -> Pairs {
        let kept = pairs.iter().filter(|(name, _)| !removed.contains(&name.as_str())).cloned();
        kept.chain(added.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).collect()
    }

    #[test]
    fn a_message_that_reads_as_another_persons_is_refused_however_it_is_cut() {
        for (written, removed, added) in [
            // The writer's own From is the value of a parameter that nobody knows.
            (
                "STARTFrom+14155550199FromA",
                vec!["Body", "From"],
                vec![("Body", "START"), ("From", VICTIM), ("FromA", "From+14155550100")],
            ),
            // It is a second From, and the first one counts.
            ("STARTFrom+14155550099", vec!["Body"], vec![("Body", "START"), ("From", "+14155550099")]),
        ] {
            let signed = message("+14155550100", &[("Body", written)]);
            let forged = recut(&signed, &removed, &added);
            assert_eq!(signature(URL, &signed), signature(URL, &forged), "the signature tells nothing");
            assert_eq!([ambiguous(URL, &signed), ambiguous(URL, &forged)], [Some("From"); 2], "{written}");
        }
        // A sender whose name is no number, before one that is.
        let signed = message("ACME", &[("Body", "STARTFrom+14155550199FromA")]);
        let forged =
            recut(&signed, &["Body", "From"], &[("Body", "START"), ("From", VICTIM), ("FromA", "FromACME")]);
        assert_eq!(signature(URL, &signed), signature(URL, &forged));
        assert_eq!(ambiguous(URL, &forged), Some("From"));
    }

    #[test]
    fn a_second_id_of_the_writer_is_refused_and_a_first_one_belongs_to_the_same_message() {
        let written = [("Body", "STARTExternalUserIdAA.1")];
        let forged = [("Body", "START"), ("ExternalUserId", "AA.1")];
        let signed = message("whatsapp:CO.899", &[&written[..], &[("ExternalUserId", "CO.899")]].concat());
        let cut = recut(&signed, &["Body"], &forged);
        assert_eq!(signature(URL, &signed), signature(URL, &cut));
        assert_eq!([ambiguous(URL, &signed), ambiguous(URL, &cut)], [Some("ExternalUserId"); 2]);
        // Whose message has none says the words, and has said them when they come back as a parameter.
        let signed = message("+14155550100", &written);
        let cut = recut(&signed, &["Body"], &forged);
        assert_eq!(signature(URL, &signed), signature(URL, &cut));
        assert_eq!([ambiguous(URL, &signed), ambiguous(URL, &cut)], [None; 2]);
        let sid = |pairs: &Pairs| IncomingMessage::parse(&form(pairs)).unwrap().message_sid;
        assert_eq!(sid(&signed), sid(&cut));
    }

    #[test]
    fn what_stood_in_the_body_is_not_taken_from_the_query() {
        let written = format!(
            "hi&AccountSid={ACCOUNT}&Body=START&From=%2B14155550199&MessageSid={OTHER_SID}&To=%2B15005550006&x="
        );
        let url = format!("{URL}?a=1");
        let signed = message("whatsapp:+14155550100", &[("Body", written.as_str())]);
        let moved = format!("{url}{}", signed_text(&signed));
        assert_eq!(signature(&url, &signed), signature(&moved, &Pairs::new()));
        let get = |url: &str| ambiguous_parameter(Request { url, content: Content::Nothing });
        assert_eq!(get(&moved), Some("From"));
        // Nor if what was signed as it is comes escaped, which verifies too.
        assert!(get(&moved.replace("whatsapp:", "whatsapp%3A")).is_some());
        assert_eq!(get(&format!("{URL}?From=%2B14155550100&Body=From+1+to+2&WaId=14155550100")), None);
    }

    #[test]
    fn what_people_write_is_no_such_text() {
        for text in [
            "From 2 to 4 pm",
            "From+1",
            "From: Bill",
            "Fromage: 3",
            "Sent From MyPhone",
            "From",
            "ExternalUserId",
            "My WaId is unknown",
            "STOP",
        ] {
            for more in [[("Body", text), ("ProfileName", "Zoë")], [("Body", ""), ("ProfileName", text)]] {
                for from in ["+14155550100", "whatsapp:+14155550100", "12345", "ACME", "rcs:brand_agent"] {
                    assert_eq!(ambiguous(URL, &message(from, &more)), None, "{from} {more:?}");
                }
                let ids = [("ExternalUserId", "whatsapp:CO.899"), ("ParentExternalUserId", "US.ENT.1")];
                let from = message("whatsapp:CO.899", &[&more[..], &ids, &[("WaId", "57300")]].concat());
                assert_eq!(ambiguous(URL, &from), None, "{more:?}");
            }
        }
    }

    /// What somebody may write who wants it to be read as parameters.
    fn written() -> impl Strategy<Value = String> {
        let pieces = [
            "START",
            "STOP",
            "From",
            "FromA",
            "GFrom",
            VICTIM,
            "whatsapp:",
            "MessageSid",
            OTHER_SID,
            "SmsMessageSid",
            "SmsSid",
            "NumMedia",
            "0",
            "ProfileName",
            "To",
            "+15005550006",
            "ExternalUserId",
            "US.777",
            "WaId",
            "14155550199",
            "Zz",
            "Body",
            "ACME",
            "12345",
            "AccountSid",
            ACCOUNT,
            " ",
            "é",
            "?",
            "&",
        ];
        vec(select(pieces.to_vec()), 0..9).prop_map(|pieces| pieces.concat())
    }

    fn signed() -> impl Strategy<Value = Pairs> {
        let from = select(vec!["+14155550100", "whatsapp:+14155550100", "whatsapp:CO.899", "12345", "ACME"]);
        (from, written(), written()).prop_map(|(from, body, profile)| {
            let mut more = vec![("Body", body.as_str())];
            if from.starts_with("whatsapp:") {
                more.extend([("ProfileName", profile.as_str()), ("WaId", "14155550100")]);
                more.extend([("ExternalUserId", "whatsapp:CO.899")]);
            }
            message(from, &more)
        })
    }

    /// Where a cut is likely to make a parameter that is read: before and behind what names one.
    fn likely_cuts(text: &str) -> Vec<usize> {
        let names = [
            "AccountSid",
            "ApiVersion",
            "Body",
            "ExternalUserId",
            "From",
            "FromA",
            "FromCity",
            "GFrom",
            "MessageSid",
            "NumMedia",
            "ProfileName",
            "SmsMessageSid",
            "SmsSid",
            "To",
            "WaId",
            "Zz",
        ];
        let found = names
            .iter()
            .flat_map(|name| text.match_indices(name).flat_map(|(at, name)| [at, at + name.len()]));
        let mut cuts: Vec<usize> = found.chain([0, text.len()]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_096))]

        #[test]
        fn every_cut_of_a_signed_text_that_is_let_through_is_the_same_message_of_the_same_person(
            signed in signed(),
            chosen in vec(prop::bool::weighted(0.7), 160),
        ) {
            let text = signed_text(&signed);
            // Names in their order, each with all that follows up to the next as its value: so the same is signed.
            let mut begins: Vec<(usize, usize)> = Vec::new();
            for (cut, chosen) in likely_cuts(&text).windows(2).zip(chosen) {
                let is_next = begins.last().is_none_or(|(at, end)| text[*at..*end] < text[cut[0]..cut[1]]);
                if begins.is_empty() || (chosen && is_next) {
                    begins.push((cut[0], cut[1]));
                }
            }
            let ends = begins.iter().skip(1).map(|(at, _)| *at).chain([text.len()]);
            let cut: Pairs = begins
                .iter()
                .zip(ends)
                .map(|((at, name_end), end)| (text[*at..*name_end].to_owned(), text[*name_end..end].to_owned()))
                .collect();
            prop_assert_eq!(signature(URL, &signed), signature(URL, &cut));
            let Ok(read) = IncomingMessage::parse(&form(&cut)) else { return Ok(()) };
            if ambiguous(URL, &cut).is_some() {
                return Ok(());
            }
            let written = IncomingMessage::parse(&form(&signed)).unwrap();
            prop_assert_eq!(&read.message_sid, &written.message_sid);
            // What follows a sender's name may read as more of it; a name is nobody who is sent to.
            let is_longer = written.from.bare().as_str() == "ACME" && read.from.bare().starts_with("ACME");
            prop_assert!(read.from == written.from || is_longer, "{:?} reads as {:?}", signed, cut);
            let ids = [(read.wa_id, written.wa_id), (read.external_user_id, written.external_user_id)];
            for (read, written) in ids.into_iter().filter(|(_, written)| written.is_some()) {
                prop_assert!(read.is_none() || read == written);
            }
        }
    }
}
