//! What the benches of the stores share.

use std::{
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use textledger::{
    domain::{MessageId, Outbound, UnixMs},
    sealing::MasterKeys,
    store::{Store, redis::RedisStore},
    twilio::Address,
};

/// When everything happens.
pub const NOW: UnixMs = UnixMs::new(1_764_000_000_000);

/// A message of a short text.
pub fn outbound(number: u128, from: Address) -> Outbound {
    Outbound {
        id: MessageId::new(0, number),
        to: Address::parse("+14155550100").expect("it has the shape of an address"),
        from: Some(from),
        messaging_service_sid: None,
        body_length: 11,
        segments: 1,
        media: 0,
        category: None,
        user_id: None,
        batch: None,
        status_callback: None,
        fallback: None,
        actor: None,
        created_at: NOW,
    }
}

/// A server of the bench's own.
/// What seals what is secret in a store.
pub fn keys() -> MasterKeys {
    MasterKeys::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("32 bytes in base64")
}

pub struct Redis {
    port: u16,
    child: Child,
}

impl Redis {
    /// Starts it, with its files in `folder`.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string(), "--dir"])
            .arg(folder)
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self { port, child })
    }

    /// A store in it, once it answers.
    pub async fn store(&self) -> anyhow::Result<RedisStore> {
        let store =
            RedisStore::open(&format!("redis://127.0.0.1:{}", self.port), "tl", 1).await?.sealed_with(keys());
        let give_up = Instant::now() + Duration::from_secs(10);
        while let Err(error) = store.ping().await {
            anyhow::ensure!(Instant::now() < give_up, "redis-server does not answer: {error}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(store)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
