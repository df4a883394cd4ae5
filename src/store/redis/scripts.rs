//! The scripts: each is one atomic step at the server and costs one round trip.
//!
//! A script lists at its head what it takes, by name and in order. Whoever runs one names what is passed, in the same
//! words; a debug build compares the two, so that no test passes with two of twenty arguments exchanged. What several
//! scripts do alike stands in a file of its own, which is put before their sources.

use std::sync::LazyLock;

use redis::{Cmd, RedisResult, ServerErrorKind, Value};
use sha1::{Digest, Sha1};

use super::{connection::Connection, replicas::Replicas};

/// A script as the server knows it.
pub(super) struct Script {
    source: &'static str,
    /// SHA-1 of the source, in hexadecimal: its name at the server.
    hash: String,
}

macro_rules! script {
    ($name:ident, $($file:literal),+) => {
        pub(super) static $name: LazyLock<Script> =
            LazyLock::new(|| Script::new(concat!($(include_str!($file)),+)));
    };
}

script!(RECORD_STATUS, "lua/known.lua", "lua/record_status.lua");
script!(RECORD_INBOUND, "lua/known.lua", "lua/consent.lua", "lua/record_inbound.lua");
script!(READ_CONSENT, "lua/read_consent.lua");
script!(CHANGE_CONSENT, "lua/known.lua", "lua/consent.lua", "lua/change_consent.lua");
script!(REPLACE_CONSENT, "lua/known.lua", "lua/consent.lua", "lua/replace_consent.lua");
script!(ERASE_CONSENT, "lua/consent.lua", "lua/erase_consent.lua");
script!(REPLACE_PERSON, "lua/known.lua", "lua/consent.lua", "lua/replace_person.lua");
script!(PASS_GATE, "lua/known.lua", "lua/consent.lua", "lua/pass_gate.lua");
script!(CHANGE_MARK, "lua/change_mark.lua");
script!(CLAIM, "lua/claim.lua");
script!(STEP_OUTBOUND, "lua/known.lua", "lua/queue.lua", "lua/consent.lua", "lua/step_outbound.lua");
script!(CLAIM_OUTBOUNDS, "lua/queue.lua", "lua/claim_outbounds.lua");
script!(ADOPT_FLOW, "lua/queue.lua", "lua/adopt_flow.lua");
script!(RESOLVE_OUTBOUND, "lua/resolve_outbound.lua");
script!(DEQUEUE, "lua/queue.lua", "lua/dequeue.lua");
script!(RESERVE_PACE, "lua/reserve_pace.lua");
script!(CHANGE_DOCUMENTS, "lua/change_documents.lua");
script!(FORGET_NAMES, "lua/forget_names.lua");
script!(COUNT, "lua/count.lua");
script!(ADD_ENTRY, "lua/add_entry.lua");
script!(FORGET_DELIVERIES, "lua/forget_deliveries.lua");
script!(FORGET_MESSAGE, "lua/forget_message.lua");
script!(TRIM, "lua/trim.lua");
script!(LOST, "lua/lost.lua");

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, hash: hex::encode(Sha1::digest(source)) }
    }

    /// Runs the script with `keys` and `arguments`, each beside the name that the script has for it, and waits until
    /// `replicas`, if any are given, hold what it has written. A server that does not know the script yet (new, restarted,
    /// or after `SCRIPT FLUSH`) is sent the source, which it remembers.
    pub(super) async fn run<A: AsRef<[u8]>>(
        &self,
        connection: &Connection,
        replicas: Option<&Replicas>,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> RedisResult<Value> {
        debug_assert!(are_listed(self.source, "KEYS", keys), "the keys are not those that the script lists");
        debug_assert!(are_listed(self.source, "ARGV", arguments), "the script lists other arguments");
        match connection.write(&self.command("EVALSHA", &self.hash, keys, arguments), replicas).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                connection.write(&self.command("EVAL", self.source, keys, arguments), replicas).await
            }
            result => result,
        }
    }

    fn command<A: AsRef<[u8]>>(
        &self,
        verb: &str,
        script: &str,
        keys: &[(&str, String)],
        arguments: &[(&str, A)],
    ) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(keys.len());
        for (_, key) in keys {
            command.arg(key);
        }
        for (_, argument) in arguments {
            command.arg(argument.as_ref());
        }
        command
    }
}

/// Whether `passed` has the names that the head of the script `source` lists under `title`, in their order. The last may
/// be left out if its name ends with `?`; names that end with `…` follow any number of times.
fn are_listed<T>(source: &str, title: &str, passed: &[(&str, T)]) -> bool {
    let list = source.lines().skip_while(|line| !line.starts_with(&format!("-- {title}"))).skip(1);
    let items = list.map_while(|line| line.strip_prefix("--   "));
    let names = items.filter(|item| !item.starts_with(' ')).filter_map(|item| item.split(' ').next());
    let (tail, single): (Vec<&str>, Vec<&str>) = names.partition(|name| name.ends_with('…'));
    let mut passed = passed.iter().map(|(name, _)| *name);
    let has_single = single.into_iter().all(|name| match name.strip_suffix('?') {
        Some(name) => passed.next().is_none_or(|passed| passed == name),
        None => passed.next() == Some(name),
    });
    has_single && passed.all(|name| tail.iter().any(|listed| listed.trim_end_matches('…') == name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "\
-- KEYS
--   counts     hash  <prefix>:counts
--   history?   stream  <prefix>:history,
--              left out by most
-- ARGV, the last any number of times
--   now        milliseconds since 1970
--   counters…  what is counted
-- Returns 1.
";

    fn are(title: &str, passed: &[&str]) -> bool {
        let passed: Vec<_> = passed.iter().map(|name| (*name, ())).collect();
        are_listed(SOURCE, title, &passed)
    }

    #[test]
    fn what_is_passed_has_the_names_of_the_scripts_head_in_its_order() {
        assert!(are("KEYS", &["counts"]));
        assert!(are("KEYS", &["counts", "history"]));
        assert!(are("ARGV", &["now"]));
        assert!(are("ARGV", &["now", "counters", "counters"]));
        for wrong in [&[][..], &["history"], &["history", "counts"], &["counts", "history", "now"]] {
            assert!(!are("KEYS", wrong), "{wrong:?}");
        }
        for wrong in [&["counters"][..], &["counters", "now"], &["now", "now"]] {
            assert!(!are("ARGV", wrong), "{wrong:?}");
        }
    }
}
