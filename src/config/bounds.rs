//! The settings that bound what callers can take: connections and live streams.

use super::Reader;

/// The most connections and streams that callers may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Connections at the main address, if it is not left to the limit of open files.
    pub connections: Option<usize>,
    /// Strangers' connections of one peer there.
    pub connections_per_peer: usize,
    /// Live streams of one caller.
    pub streams_per_caller: usize,
    /// Live streams of one organization.
    pub streams_per_organization: usize,
    /// Live streams in all.
    pub streams: usize,
}

/// The largest number that makes sense for any of them.
const BOUND_MAX: usize = 1_000_000;

impl Bounds {
    pub(super) fn read(reader: &mut Reader) -> Self {
        let mut bound = |name| {
            let wanted = format!("a number from 1 to {BOUND_MAX}");
            reader.read_or_default(name, &wanted, number)
        };
        let connections_per_peer = bound("TEXTLEDGER_CONNECTIONS_PER_PEER");
        let streams_per_caller = bound("TEXTLEDGER_STREAMS_PER_CALLER");
        let streams_per_organization = bound("TEXTLEDGER_STREAMS_PER_ORGANIZATION");
        let streams = bound("TEXTLEDGER_STREAMS_MAX");
        let name = "TEXTLEDGER_CONNECTIONS_MAX";
        let given = reader.text(name);
        let connections = given.as_deref().and_then(number);
        if given.is_some() && connections.is_none() {
            reader.fault(name, &format!("a number from 1 to {BOUND_MAX}, or left out"));
        }
        Self { connections, connections_per_peer, streams_per_caller, streams_per_organization, streams }
    }
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| (1..=BOUND_MAX).contains(number))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn bounds_are_numbers_above_zero() {
        let read =
            |name, value: &str| Config::read([(name, value.to_owned())].into(), "").map(|read| read.bounds);
        let bounds = read("TEXTLEDGER_CONNECTIONS_MAX", "500").unwrap();
        assert_eq!(
            (bounds.connections, bounds.connections_per_peer, bounds.streams),
            (Some(500), 1_024, 1_024)
        );
        assert_eq!(read("TEXTLEDGER_STREAMS_PER_CALLER", "3").unwrap().streams_per_caller, 3);
        for name in
            ["TEXTLEDGER_CONNECTIONS_MAX", "TEXTLEDGER_CONNECTIONS_PER_PEER", "TEXTLEDGER_STREAMS_MAX"]
        {
            for value in ["0", "many", "-1"] {
                assert!(read(name, value).unwrap_err().to_string().contains(name), "{name}={value}");
            }
        }
    }
}
