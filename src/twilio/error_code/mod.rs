//! Twilio's error codes as data: what each means in plain words, what to do about it, and what kind it is.
//!
//! The same codes come in answers of the API and in status callbacks. Twilio adds, splits and rewords them
//! without notice, so a code that is not in the table is normal; its range decides what is done about it.
//!
//! Source: <https://www.twilio.com/docs/api/errors>; the wording is ours.

use std::{fmt, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

mod table;

use table::TABLE;

/// An error code, such as 21610.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ErrorCode(u32);

/// What is known about an error code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ErrorDescription {
    /// The code.
    pub code: ErrorCode,
    /// A few words.
    pub title: &'static str,
    /// What happened.
    pub meaning: &'static str,
    /// What to do next.
    pub mend: &'static str,
    /// What kind of error it is.
    #[serde(skip)]
    pub class: Class,
}

/// Kinds of errors, by who can do something about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// This recipient can not be reached in this way; another message would fail too.
    Recipient,
    /// This message can not be sent as it is; another one might be.
    Message,
    /// Something is set up wrongly for this message: it fails until somebody mends that, and others need not.
    Configuration,
    /// The sender is not in order, or its registration: all its messages fail until somebody mends it.
    Sender,
    /// The account is not in order, or its credentials: all messages fail until somebody mends it.
    Account,
    /// It may work later, as a new message.
    Transient,
    /// The recipient does not want messages.
    OptOut,
    /// Twilio could not make use of a webhook or of its answer.
    Webhook,
    /// A notice; nothing has failed.
    Information,
}

/// What is done about an error, by its class: the one place that decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consequence {
    /// The message is refused; another one may not be.
    RefuseMessage,
    /// The message is refused, and counts against the number, which takes none.
    SuspectNumber,
    /// The message is refused, and the person has opted out.
    OptOut,
    /// A message that Twilio has not taken goes back to the queue, and is tried again later.
    TryAgain,
    /// The sender's queue rests for a while.
    PauseSender,
    /// The account's queue rests until a test of the connection succeeds, and no message is spent on it.
    StopAccount,
    /// Nothing.
    Nothing,
}

/// Codes that say that the number does not exist, or takes no messages whatever they are.
const DEAD_NUMBER: [u32; 9] = [21211, 21214, 21217, 21614, 21635, 30005, 30006, 63003, 63024];

/// What is said of a code that is not in the table.
const UNKNOWN: Row = Row {
    codes: 0..=u32::MAX,
    class: Class::Message,
    title: "Error not known here",
    meaning: "Twilio reports a code that this version of textledger does not know.",
    mend: "Look the code up at https://www.twilio.com/docs/api/errors before sending the message again.",
};

/// One description for one code, or for several in a row.
struct Row {
    codes: RangeInclusive<u32>,
    class: Class,
    title: &'static str,
    meaning: &'static str,
    mend: &'static str,
}

impl ErrorCode {
    /// The code `number`.
    pub const fn new(number: u32) -> Self {
        Self(number)
    }

    /// Reads a code as callbacks write it. Empty, `0` and anything else that is no number are none.
    pub fn parse(text: &str) -> Option<Self> {
        text.trim().parse().ok().filter(|&number| number != 0).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// What is known about the code, if it is.
    pub fn describe(self) -> Option<ErrorDescription> {
        self.row().map(|row| row.describe(self))
    }

    /// What is known about the code, or how to find out.
    pub fn describe_or_unknown(self) -> ErrorDescription {
        let unknown = ErrorDescription { class: self.class(), ..UNKNOWN.describe(self) };
        self.describe().unwrap_or(unknown)
    }

    /// The kind of error. Unknown codes about webhooks and TwiML are [`Class::Webhook`]; all others count as
    /// final for the message, since one that has failed at Twilio never resumes.
    pub fn class(self) -> Class {
        match (self.row(), self.0) {
            (Some(row), _) => row.class,
            (None, 11_100..=12_999 | 14_100..=14_199) => Class::Webhook,
            (None, _) => UNKNOWN.class,
        }
    }

    /// What is done about it.
    pub fn consequence(self) -> Consequence {
        match self.class() {
            _ if self.is_opt_out() => Consequence::OptOut,
            Class::Recipient if DEAD_NUMBER.contains(&self.0) => Consequence::SuspectNumber,
            Class::Recipient | Class::Message | Class::Configuration | Class::OptOut => {
                Consequence::RefuseMessage
            }
            Class::Sender => Consequence::PauseSender,
            Class::Account => Consequence::StopAccount,
            Class::Transient => Consequence::TryAgain,
            Class::Webhook | Class::Information => Consequence::Nothing,
        }
    }

    /// Whether the code is to be recorded as an opt-out: of the sender (21610), by blocking it on a channel
    /// (63014), or of marketing on WhatsApp (63033). [`Class::OptOut`] is wider: it also holds what only the
    /// Compliance Toolkit or a newer version of 63033 says.
    pub fn is_opt_out(self) -> bool {
        matches!(self.0, 21610 | 63014 | 63033)
    }

    /// Whether the code says that a person cannot be reached over WhatsApp, or not by such a message just now, so that
    /// another channel may do: no account there, a block, the sandbox not joined (63015), the window closed (63016), or
    /// Meta's choice not to deliver (63049).
    pub fn is_unreachable_on_whatsapp(self) -> bool {
        let of_whatsapp = (63_000..64_000).contains(&self.0);
        let about_recipient = matches!(self.class(), Class::Recipient | Class::OptOut);
        of_whatsapp && (about_recipient || matches!(self.0, 63_015 | 63_016 | 63_049))
    }

    fn row(self) -> Option<&'static Row> {
        let after = TABLE.partition_point(|row| *row.codes.start() <= self.0);
        TABLE[..after].last().filter(|row| row.codes.contains(&self.0))
    }
}

impl Row {
    fn describe(&self, code: ErrorCode) -> ErrorDescription {
        let Self { class, title, meaning, mend, .. } = *self;
        ErrorDescription { code, title, meaning, mend, class }
    }
}

impl From<u32> for ErrorCode {
    fn from(number: u32) -> Self {
        Self(number)
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_table_is_sorted_and_no_code_is_in_it_twice() {
        for rows in TABLE.windows(2) {
            assert!(rows[0].codes.end() < rows[1].codes.start(), "{:?}", rows[1].codes);
        }
        for row in TABLE {
            assert!(row.codes.start() <= row.codes.end(), "{:?}", row.codes);
        }
    }

    #[test]
    fn every_row_says_something_of_its_own() {
        let mut titles = HashSet::new();
        for Row { codes, title, meaning, mend, .. } in TABLE {
            assert!(titles.insert(title), "the title of {codes:?} is another's too");
            assert!(!title.is_empty() && !title.ends_with('.') && title.len() <= 60, "{codes:?}: {title}");
            for text in [meaning, mend] {
                assert!(text.len() >= 20 && text.ends_with('.'), "{codes:?}: {text}");
                assert!(text.starts_with(|first: char| first.is_uppercase() || first == '`'), "{text}");
                assert!(!text.contains("  ") && !text.contains('\n'), "{codes:?}: {text}");
            }
            assert_ne!(meaning, mend);
        }
    }

    #[test]
    fn every_code_that_messaging_is_known_to_use_is_described() {
        let account =
            [10001, 20003, 20005, 20008, 20404, 20409, 20422, 20429, 20500, 20503, 60728, 63038, 90010];
        let request = [
            21211, 21212, 21214, 21217, 21218, 21219, 21265, 21266, 21267, 21268, 21408, 21601, 21602, 21603,
            21604, 21605, 21606, 21607, 21608, 21609, 21610, 21611, 21612, 21614, 21616, 21617, 21618, 21619,
            21620, 21621, 21622, 21623, 21624, 21627, 21635, 21652, 21653, 21654, 21655, 21656, 21657, 21658,
            21659, 21660, 21661, 21664, 21666, 21667, 21717, 21719, 23004, 45000, 90007,
        ];
        let delivery = [30409, 30410, 30450, 30453, 30454, 30500, 30610, 30640, 30646, 30883];
        let channels = [63001, 63002, 63003, 63049, 63051, 63062, 63100, 63110];
        let webhooks = [
            11100, 11200, 11201, 11202, 11203, 11205, 11206, 11210, 11215, 11216, 11220, 11235, 11236, 11237,
            11750, 12100, 12200, 12300, 15003, 57012, 59004, 80901,
        ];
        let ranges = [
            21701..=21705,
            21708..=21715,
            30001..=30039,
            30100..=30129,
            30440..=30449,
            35111..=35126,
            63005..=63037,
            63039..=63047,
            11240..=11243,
            14101..=14111,
        ];
        let single = [&account[..], &request, &delivery, &channels, &webhooks].concat();
        for code in single.into_iter().chain(ranges.into_iter().flatten()) {
            let description = ErrorCode(code).describe();
            assert_eq!(description.map(|description| description.code), Some(ErrorCode(code)), "{code}");
        }
    }

    #[test]
    fn the_classes_follow_twilio_s_meaning() {
        for (code, class) in [
            (21610, Class::OptOut),
            (63014, Class::OptOut),
            (63033, Class::OptOut),
            (30640, Class::OptOut),
            (20003, Class::Account),
            (20005, Class::Account),
            (90010, Class::Account),
            (30034, Class::Sender),
            (20429, Class::Transient),
            (21211, Class::Recipient),
            (21408, Class::Configuration),
            (21608, Class::Configuration),
            (21611, Class::Transient),
            (21617, Class::Message),
            (30003, Class::Transient),
            (30005, Class::Recipient),
            (30007, Class::Configuration),
            (30026, Class::Information),
            (30630, Class::OptOut),
            (30036, Class::Message),
            (30118, Class::Configuration),
            (63016, Class::Message),
            (63045, Class::Information),
            (11200, Class::Webhook),
        ] {
            assert_eq!(ErrorCode(code).describe().unwrap().class, class, "{code}");
            assert_eq!(ErrorCode(code).class(), class, "{code}");
        }
    }

    #[test]
    fn only_three_codes_are_recorded_as_opt_outs() {
        let recorded: Vec<u32> = (0..100_000).filter(|&code| ErrorCode(code).is_opt_out()).collect();
        assert_eq!(recorded, [21610, 63014, 63033]);
    }

    #[test]
    fn an_unknown_code_is_final_for_the_message() {
        for (code, class) in [
            (0, Class::Message),
            (21999, Class::Message),
            (30998, Class::Message),
            (35999, Class::Message),
            (63999, Class::Message),
            (11999, Class::Webhook),
            (12999, Class::Webhook),
            (14199, Class::Webhook),
            (u32::MAX, Class::Message),
        ] {
            assert_eq!(ErrorCode(code).describe(), None, "{code}");
            assert_eq!(ErrorCode(code).class(), class, "{code}");
            assert_ne!(ErrorCode(code).consequence(), Consequence::TryAgain);
            let description = ErrorCode(code).describe_or_unknown();
            assert_eq!((description.code, description.class), (ErrorCode(code), class));
        }
    }

    #[test]
    fn each_code_has_its_consequence() {
        for (code, consequence) in [
            (21610, Consequence::OptOut),
            (63014, Consequence::OptOut),
            (30640, Consequence::RefuseMessage),
            (21211, Consequence::SuspectNumber),
            (21614, Consequence::SuspectNumber),
            (30005, Consequence::SuspectNumber),
            (63024, Consequence::SuspectNumber),
            // Off, out of reach or unknown: the number may well be good.
            (30003, Consequence::TryAgain),
            (30008, Consequence::TryAgain),
            (30004, Consequence::RefuseMessage),
            (21408, Consequence::RefuseMessage),
            (21606, Consequence::RefuseMessage),
            (63016, Consequence::RefuseMessage),
            (21611, Consequence::TryAgain),
            (20429, Consequence::TryAgain),
            (30032, Consequence::PauseSender),
            (63051, Consequence::PauseSender),
            (10001, Consequence::StopAccount),
            (20003, Consequence::StopAccount),
            (20005, Consequence::StopAccount),
            (30002, Consequence::StopAccount),
            (90010, Consequence::StopAccount),
            (30039, Consequence::Nothing),
            (11200, Consequence::Nothing),
            (99999, Consequence::RefuseMessage),
        ] {
            assert_eq!(ErrorCode(code).consequence(), consequence, "{code}");
        }
    }

    #[test]
    fn a_code_is_read_as_callbacks_write_it() {
        assert_eq!(ErrorCode::parse("30003"), Some(ErrorCode(30003)));
        for none in ["", "0", "null", "-1", "30003x", "99999999999"] {
            assert_eq!(ErrorCode::parse(none), None);
        }
    }
}
