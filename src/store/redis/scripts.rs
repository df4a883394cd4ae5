//! The scripts: each is one atomic step at the server and costs one round trip.

use std::sync::LazyLock;

use redis::{Cmd, RedisResult, ServerErrorKind, Value};
use sha1::{Digest, Sha1};

use super::connection::Connection;

/// A script as the server knows it.
pub(super) struct Script {
    source: &'static str,
    /// SHA-1 of the source, in hexadecimal: its name at the server.
    hash: String,
}

macro_rules! script {
    ($name:ident, $file:literal) => {
        pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    };
}

script!(RECORD_STATUS, "lua/record_status.lua");
script!(RECORD_INBOUND, "lua/record_inbound.lua");
script!(CHANGE_CONSENT, "lua/change_consent.lua");
script!(CLAIM, "lua/claim.lua");
script!(STEP_OUTBOUND, "lua/step_outbound.lua");
script!(RESOLVE_OUTBOUND, "lua/resolve_outbound.lua");
script!(DEQUEUE, "lua/dequeue.lua");
script!(RESERVE_PACE, "lua/reserve_pace.lua");
script!(CHANGE_DOCUMENTS, "lua/change_documents.lua");
script!(COUNT, "lua/count.lua");

impl Script {
    fn new(source: &'static str) -> Self {
        Self { source, hash: hex::encode(Sha1::digest(source)) }
    }

    /// Runs the script. A server that does not know it yet (new, restarted, or after `SCRIPT FLUSH`) is sent the
    /// source, which it remembers.
    pub(super) async fn run<A: AsRef<[u8]>>(
        &self,
        connection: &Connection,
        keys: &[String],
        arguments: &[A],
    ) -> RedisResult<Value> {
        match connection.send(&self.command("EVALSHA", &self.hash, keys, arguments)).await {
            Err(error) if error.kind() == ServerErrorKind::NoScript.into() => {
                connection.send(&self.command("EVAL", self.source, keys, arguments)).await
            }
            result => result,
        }
    }

    fn command<A: AsRef<[u8]>>(&self, verb: &str, script: &str, keys: &[String], arguments: &[A]) -> Cmd {
        let mut command = redis::cmd(verb);
        command.arg(script).arg(keys.len()).arg(keys);
        for argument in arguments {
            command.arg(argument.as_ref());
        }
        command
    }
}
