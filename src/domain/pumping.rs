//! When first messages look like pumping: somebody asks an application, by its sign-up form, for codes to many numbers of
//! one range, whose carrier pays a share of what each message costs.
//!
//! Such numbers stand side by side and were never written to before, so what is counted is first messages to a block of
//! neighbouring numbers. Ordinary people are spread over all numbers of a country.
//!
//! Source: <https://www.twilio.com/docs/glossary/what-is-sms-pumping-fraud>.

use std::time::Duration;

/// Digits at the end of a number that its nearest neighbours do not share: 1,000 numbers.
const NEAR_DIGITS: usize = 3;

/// Digits at the end of a number that those of one carrier's range do not share: 100,000 numbers.
const WIDE_DIGITS: usize = 5;

/// How many times as many first messages are ordinary for a wide block as for a near one.
const WIDE_FACTOR: u64 = 5;

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
}
