//! A Redis that is far away: every answer takes its time, and any number of them are on the way at once.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::Instant,
};

use super::redis_server::RedisServer;

/// How many answers may be on the way.
const ON_THE_WAY_MAX: usize = 10_000;

/// An address of a server by which it is slow to reach.
pub struct SlowAddress {
    port: u16,
    delay_ms: Arc<AtomicU64>,
}

impl SlowAddress {
    /// An address of `server`, by which it is reached at once to begin with.
    pub async fn of(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, server_port) = (listener.local_addr().unwrap().port(), server.port());
        let delay_ms = Arc::new(AtomicU64::new(0));
        let delay = delay_ms.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, server_port, delay.clone()));
            }
        });
        Self { port, delay_ms }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// From now on an answer takes half of `time` to one and a half of it, one after the other.
    pub fn answer_within(&self, time: Duration) {
        self.delay_ms.store(time.as_millis() as u64, Ordering::Relaxed);
    }
}

async fn forward(client: TcpStream, server_port: u16, delay_ms: Arc<AtomicU64>) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", server_port)).await?;
    let (mut commands, mut to_client) = client.into_split();
    let (mut answers, mut to_server) = server.into_split();
    tokio::spawn(async move { tokio::io::copy(&mut commands, &mut to_server).await });
    let (sent, mut on_the_way) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY_MAX);
    tokio::spawn(async move {
        while let Some((due, answer)) = on_the_way.recv().await {
            tokio::time::sleep_until(due).await;
            if to_client.write_all(&answer).await.is_err() {
                return;
            }
        }
    });
    let (mut buffer, mut count) = ([0; 65_536], 0_u64);
    loop {
        let read = answers.read(&mut buffer).await?;
        let delay = delay_ms.load(Ordering::Relaxed);
        count += 1;
        // Half, three quarters, whole, five quarters, one and a half.
        let due = Instant::now() + Duration::from_millis(delay * (2 + count % 5) / 4);
        if read == 0 || sent.send((due, buffer[..read].to_vec())).await.is_err() {
            return Ok(());
        }
    }
}
