//! Connection overrides: what the fragment of a webhook's URL asks of Twilio's HTTP client.
//!
//! `https://host/path?query#rc=5&rp=5xx,ct,rt&ct=2000&rt=4000`. The fragment is neither sent nor signed. A value out
//! of its range, and a key that is not known, are as if they were not there; Twilio reports them in its console
//! (11240 to 11243) and goes on with the defaults.
//!
//! Source: <https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides>.

use std::{ops::RangeInclusive, time::Duration};

const CONNECT_TIMEOUT_MS: RangeInclusive<u64> = 100..=10_000;
const READ_TIMEOUT_MS: RangeInclusive<u64> = 100..=15_000;
const TOTAL_TIMEOUT_MS: RangeInclusive<u64> = 100..=15_000;
const RETRIES: RangeInclusive<u64> = 0..=5;

/// How a webhook is posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overrides {
    /// `ct`: how long to wait for a connection.
    pub connect_timeout: Duration,
    /// `rt`: how long to wait for the first byte of the answer, and then for each next part of it.
    pub read_timeout: Duration,
    /// `tt`: how long all attempts may take together.
    pub total_timeout: Duration,
    /// `rc`: how often to try again after the first attempt.
    pub retries: u64,
    /// `rp`: after what to try again.
    pub retry_on: RetryOn,
}

/// After which failures a webhook is posted again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RetryOn {
    /// `ct`: there was no connection, or no TLS over it.
    pub connect: bool,
    /// `rt`: the answer did not come in time.
    pub read: bool,
    /// `4xx`.
    pub client_error: bool,
    /// `5xx`.
    pub server_error: bool,
    /// The connection broke, which has no name of its own: only `all` covers it.
    pub broken: bool,
}

impl RetryOn {
    const ALL: Self =
        Self { connect: true, read: true, client_error: true, server_error: true, broken: true };

    /// Reads a comma list; `None` if something in it is unknown.
    fn parse(text: &str) -> Option<Self> {
        text.split(',').try_fold(Self::default(), |retry_on, policy| {
            Some(match policy {
                "ct" => Self { connect: true, ..retry_on },
                "rt" => Self { read: true, ..retry_on },
                "4xx" => Self { client_error: true, ..retry_on },
                "5xx" => Self { server_error: true, ..retry_on },
                "all" => Self::ALL,
                _ => return None,
            })
        })
    }
}

impl Default for Overrides {
    /// What Twilio does when nothing is asked of it: one more attempt, if there was no connection.
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            read_timeout: Duration::from_secs(15),
            total_timeout: Duration::from_secs(15),
            retries: 1,
            retry_on: RetryOn { connect: true, ..RetryOn::default() },
        }
    }
}

impl Overrides {
    /// Splits a URL at its fragment: what is sent and signed, byte for byte, and what the fragment asks for.
    pub fn split(url: &str) -> (&str, Self) {
        let Some((url, fragment)) = url.split_once('#') else { return (url, Self::default()) };
        let mut overrides = Self::default();
        for (key, value) in fragment.split('&').filter_map(|piece| piece.split_once('=')) {
            overrides.set(key, value);
        }
        (url, overrides)
    }

    fn set(&mut self, key: &str, value: &str) {
        let within = |range: RangeInclusive<u64>| value.parse().ok().filter(|number| range.contains(number));
        let millis = |range| within(range).map(Duration::from_millis);
        match key {
            "ct" => self.connect_timeout = millis(CONNECT_TIMEOUT_MS).unwrap_or(self.connect_timeout),
            "rt" => self.read_timeout = millis(READ_TIMEOUT_MS).unwrap_or(self.read_timeout),
            "tt" => self.total_timeout = millis(TOTAL_TIMEOUT_MS).unwrap_or(self.total_timeout),
            "rc" => self.retries = within(RETRIES).unwrap_or(self.retries),
            "rp" => self.retry_on = RetryOn::parse(value).unwrap_or(self.retry_on),
            // `e` (edge) and `sni` change nothing on one machine.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_is_split_off_and_the_rest_is_kept_byte_for_byte() {
        let url = "https://u:p@Hooks.Example.com:443/a%2fb?x=It%27s+'1'&x=#rc=5&rp=5xx,ct,rt&ct=2000&rt=4000";
        let (rest, overrides) = Overrides::split(url);
        assert_eq!(rest, "https://u:p@Hooks.Example.com:443/a%2fb?x=It%27s+'1'&x=");
        let expected = Overrides {
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(4),
            total_timeout: Duration::from_secs(15),
            retries: 5,
            retry_on: RetryOn { connect: true, read: true, server_error: true, ..RetryOn::default() },
        };
        assert_eq!(overrides, expected);
    }

    #[test]
    fn what_is_missing_unknown_or_out_of_range_leaves_the_default() {
        for fragment in
            ["", "#", "#rc=6", "#rc=-1", "#ct=99&rt=15001&tt=0", "#rp=6xx", "#rp=", "#e=dublin&sni=n", "#rc"]
        {
            let url = format!("http://a.example/{fragment}");
            assert_eq!(Overrides::split(&url), ("http://a.example/", Overrides::default()), "{fragment}");
        }
        let (_, overrides) = Overrides::split("http://a.example/#rc=0&rp=all&tt=100");
        assert_eq!((overrides.retries, overrides.retry_on), (0, RetryOn::ALL));
        assert_eq!(overrides.total_timeout, Duration::from_millis(100));
    }
}
