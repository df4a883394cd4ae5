//! Which time zones a phone number may be in, by the longest prefix that is known of it.

use std::{collections::HashMap, sync::LazyLock};

use jiff::tz::TimeZone;

/// libphonenumber's map; its head says where it is from and what its lines mean.
const TABLE: &str = include_str!("zones.txt");

/// The zones by prefix.
static ZONES: LazyLock<HashMap<&'static str, Vec<TimeZone>>> = LazyLock::new(|| {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    let lines = lines.filter_map(|line| line.split_once(": "));
    lines
        .flat_map(|(zones, prefixes)| prefixes.split(' ').map(move |prefix| (prefix, named(zones))))
        .collect()
});

/// What is taken for a number of no known prefix, such as one of a satellite.
static UNKNOWN: [TimeZone; 1] = [TimeZone::UTC];

/// Zones by their names. The rules are in the program, so that a machine without any knows them too.
fn named(zones: &str) -> Vec<TimeZone> {
    let zone =
        |name| TimeZone::get(name).expect("the table names zones of the bundled database: a test reads it");
    zones.split(',').map(zone).collect()
}

/// The zones that a number in E.164 may be in, one at least.
pub(super) fn of(number: &str) -> &'static [TimeZone] {
    let digits = number.strip_prefix('+').unwrap_or_default();
    let prefixes = (1..=digits.len()).rev().filter_map(|length| digits.get(..length));
    prefixes.filter_map(|prefix| ZONES.get(prefix)).next().map_or(&UNKNOWN, Vec::as_slice)
}

/// Every prefix that is known.
#[cfg(test)]
pub(super) fn prefixes() -> Vec<&'static str> {
    let mut prefixes: Vec<_> = ZONES.keys().copied().collect();
    prefixes.sort();
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(number: &str) -> Vec<&'static str> {
        of(number).iter().map(|zone| zone.iana_name().unwrap()).collect()
    }

    #[test]
    fn the_longest_prefix_names_the_zones() {
        for (number, zones) in [
            ("+14155550100", &["America/Los_Angeles"][..]),
            ("+12125550100", &["America/New_York"]),
            ("+12082410100", &["America/Denver"]),
            ("+12082450100", &["America/Los_Angeles"]),
            ("+4930901820", &["Europe/Berlin"]),
            ("+919876543210", &["Asia/Calcutta"]),
            ("+34612345678", &["Atlantic/Canary", "Europe/Madrid"]),
            (
                "+61412345678",
                &["Australia/Adelaide", "Australia/Brisbane", "Australia/Perth", "Australia/Sydney"],
            ),
            ("+870123456789", &["UTC"]),
            ("+999123456789", &["UTC"]),
            ("CO.899759302823042", &["UTC"]),
            ("+é", &["UTC"]),
            ("", &["UTC"]),
        ] {
            assert_eq!(names(number), zones, "{number}");
        }
        let toll_free = names("+18005550100");
        assert!(toll_free.contains(&"America/New_York") && toll_free.contains(&"Pacific/Honolulu"));
    }

    #[test]
    fn the_table_is_whole() {
        let prefixes = prefixes();
        assert!(prefixes.len() > 1_000, "{}", prefixes.len());
        assert!(prefixes.iter().all(|prefix| prefix.bytes().all(|byte| byte.is_ascii_digit())));
        assert!(ZONES.values().all(|zones| !zones.is_empty()));
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        assert!(lines.into_iter().all(|line| line.contains(": ")));
    }
}
