//! When first messages look like pumping: somebody asks an application, by its sign-up form, for codes to many numbers of
//! one range, whose carrier pays a share of what each message costs.
//!
//! Such numbers stand side by side and were never written to before, so what is counted is first messages to a block of
//! neighbouring numbers. Ordinary people are spread over all numbers of a country.
//!
//! Source: <https://www.twilio.com/docs/glossary/what-is-sms-pumping-fraud>.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Principal, UnixMs};

/// Digits at the end of a number that its nearest neighbours do not share: 1,000 numbers.
pub const NEAR_DIGITS: usize = 3;

/// Digits at the end of a number that those of one carrier's range do not share: 100,000 numbers.
const WIDE_DIGITS: usize = 5;

/// How many times as many first messages are ordinary for a wide block as for a near one.
const WIDE_FACTOR: u64 = 5;

/// The digits of the longest number.
const NUMBER_DIGITS_MAX: usize = 15;

/// The most decisions that an organization may have in force: more than anybody oversees, few enough to be read for each
/// message that is judged.
pub const DECISIONS_MAX: usize = 100;

/// The longest that a decision is in force: who is trusted for longer is told so by the settings.
pub const DECISION_LASTS_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many first messages to neighbouring numbers are still ordinary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Burst {
    /// To a block of 1,000 numbers; to one of 100,000 numbers five times as many.
    pub messages: u64,
    /// Within this time.
    pub window: Duration,
}

/// Which first messages are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PumpingGuard {
    /// None.
    Off,
    /// Those to other countries than the senders are of.
    Abroad(Burst),
    /// All.
    Everywhere(Burst),
}

/// A block of neighbouring numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    /// What its numbers begin with.
    pub prefix: &'a str,
    /// How many first messages to it are ordinary.
    pub messages_max: u64,
}

impl Burst {
    /// The blocks that `number`, in E.164, is in; the nearest first.
    pub fn blocks<'a>(&self, number: &'a str) -> [Block<'a>; 2] {
        let block = |digits: usize, messages_max| {
            let prefix = &number[..number.len().saturating_sub(digits)];
            Block { prefix, messages_max }
        };
        [block(NEAR_DIGITS, self.messages), block(WIDE_DIGITS, self.messages.saturating_mul(WIDE_FACTOR))]
    }
}

/// What the guard says of a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Traffic {
    /// It may leave.
    #[default]
    Ordinary,
    /// It is one of a burst of first messages to neighbouring numbers.
    Suspicious,
    /// It is a first message to numbers of which an administrator has decided that they get none.
    Refused,
}

/// What an administrator has decided on first messages to a block of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// They leave, however many they are.
    Release,
    /// None leaves.
    Refuse,
}

/// What the numbers of a block begin with: `+` and up to 14 digits, which are no whole number yet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(String);

/// A text is no beginning of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be the beginning of numbers in E.164: + and 1 to 14 digits, such as +447911")]
pub struct InvalidPrefix;

impl Prefix {
    /// The beginning.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Prefix {
    type Err = InvalidPrefix;

    fn from_str(text: &str) -> Result<Self, InvalidPrefix> {
        let digits = text.strip_prefix('+').ok_or(InvalidPrefix)?;
        let is_one = (1..NUMBER_DIGITS_MAX).contains(&digits.len())
            && digits.bytes().all(|byte| byte.is_ascii_digit())
            && !digits.starts_with('0');
        if is_one { Ok(Self(text.to_owned())) } else { Err(InvalidPrefix) }
    }
}

impl TryFrom<String> for Prefix {
    type Error = InvalidPrefix;

    fn try_from(text: String) -> Result<Self, InvalidPrefix> {
        text.parse()
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A decision on first messages to a block of numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// What the numbers begin with.
    pub prefix: Prefix,
    /// What was decided.
    pub verdict: Verdict,
    /// Until when it is in force.
    pub until: UnixMs,
    /// Who decided.
    pub by: Principal,
    /// When.
    pub at: UnixMs,
}

/// The decisions of an organization.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Decisions(Vec<Decision>);

/// As many decisions are in force as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{DECISIONS_MAX} decisions on blocks of numbers are in force already")]
pub struct TooManyDecisions;

impl FromIterator<Decision> for Decisions {
    fn from_iter<I: IntoIterator<Item = Decision>>(decisions: I) -> Self {
        Self(decisions.into_iter().collect())
    }
}

impl Decisions {
    /// Those in force at `now`, in the order of their prefixes.
    pub fn in_force(&self, now: UnixMs) -> impl Iterator<Item = &Decision> {
        self.0.iter().filter(move |decision| decision.until > now)
    }

    /// What is decided at `now` on `number`: by the longest prefix, since whoever decided on fewer numbers knew more of
    /// them.
    pub fn on(&self, number: &str, now: UnixMs) -> Option<Verdict> {
        let about = self.in_force(now).filter(|decision| number.starts_with(decision.prefix.as_str()));
        about.max_by_key(|decision| decision.prefix.as_str().len()).map(|decision| decision.verdict)
    }

    /// The decisions after `decision`, which takes the place of an earlier one on the same prefix. Those that are not in
    /// force any more are dropped.
    pub fn with(&self, decision: Decision) -> Result<Self, TooManyDecisions> {
        let Self(mut decisions) = self.without(&decision.prefix, decision.at);
        if decisions.len() >= DECISIONS_MAX {
            return Err(TooManyDecisions);
        }
        decisions.push(decision);
        decisions.sort_by(|one, other| one.prefix.cmp(&other.prefix));
        Ok(Self(decisions))
    }

    /// The decisions in force at `now` but the one on `prefix`.
    pub fn without(&self, prefix: &Prefix, now: UnixMs) -> Self {
        Self(self.in_force(now).filter(|decision| decision.prefix != *prefix).cloned().collect())
    }

    /// Until when the last of them is in force; `None` if there is none.
    pub fn last_end(&self) -> Option<UnixMs> {
        self.0.iter().map(|decision| decision.until).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_a_block_of_a_thousand_and_in_one_of_a_hundred_thousand() {
        let burst = Burst { messages: 20, window: Duration::from_secs(600) };
        let expected = [
            Block { prefix: "+447911123", messages_max: 20 },
            Block { prefix: "+4479111", messages_max: 100 },
        ];
        assert_eq!(burst.blocks("+447911123456"), expected);
    }

    fn at(ms: u64) -> UnixMs {
        UnixMs::new(ms)
    }

    fn decision(prefix: &str, verdict: Verdict, until: u64) -> Decision {
        Decision {
            prefix: prefix.parse().unwrap(),
            verdict,
            until: at(until),
            by: Principal::user("ada"),
            at: at(10),
        }
    }

    #[test]
    fn the_longest_prefix_decides_while_it_is_in_force() {
        let decisions = Decisions::default()
            .with(decision("+4479", Verdict::Refuse, 100))
            .and_then(|decisions| decisions.with(decision("+447911", Verdict::Release, 50)))
            .unwrap();
        assert_eq!(decisions.on("+447911123456", at(20)), Some(Verdict::Release));
        assert_eq!(decisions.on("+447911123456", at(50)), Some(Verdict::Refuse));
        assert_eq!(decisions.on("+447911123456", at(100)), None);
        assert_eq!(decisions.on("+447900123456", at(20)), Some(Verdict::Refuse));
        assert_eq!(decisions.on("+448000123456", at(20)), None);
        assert_eq!(decisions.last_end(), Some(at(100)));
        let left = decisions.without(&"+4479".parse().unwrap(), at(20));
        assert_eq!(left.on("+447900123456", at(20)), None);
        let stored = serde_json::to_string(&decisions).unwrap();
        let read: Vec<Decision> = serde_json::from_str(&stored).unwrap();
        assert_eq!(read.into_iter().collect::<Decisions>(), decisions);
    }

    #[test]
    fn a_decision_replaces_the_one_before_and_there_are_only_so_many() {
        let mut decisions = Decisions::default();
        for number in 0..DECISIONS_MAX {
            decisions = decisions.with(decision(&format!("+44{number}"), Verdict::Refuse, 100)).unwrap();
        }
        assert_eq!(decisions.with(decision("+1", Verdict::Refuse, 100)), Err(TooManyDecisions));
        let replaced = decisions.with(decision("+441", Verdict::Release, 100)).unwrap();
        assert_eq!(replaced.in_force(at(20)).count(), DECISIONS_MAX);
        assert_eq!(replaced.on("+441", at(20)), Some(Verdict::Release));
        // Those that have ended make room.
        let late = Decision { at: at(100), ..decision("+1", Verdict::Refuse, 200) };
        assert_eq!(decisions.with(late.clone()), Decisions::default().with(late));
    }

    #[test]
    fn a_prefix_is_the_beginning_of_a_number_and_none_whole() {
        for wrong in ["", "+", "447911", "+0", "+44x", "+44 79", "+123456789012345"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
        for prefix in ["+1", "+447911123", "+12345678901234"] {
            assert_eq!(prefix.parse::<Prefix>().unwrap().to_string(), prefix);
        }
    }
}
