//! Writes requests to keep-alive connections and reads the answers, one at a time on each.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{processes::processor_time_us, report::Row, requests::Callbacks};

/// The pause between two STOPs in a flood.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// What is sent, over how many connections.
pub struct Load<'a> {
    /// The requests.
    pub callbacks: &'a Callbacks,
    /// Connections, each with one request under way.
    pub connections: usize,
}

impl Load<'_> {
    /// Sends every request once to `address`, and measures the processor time of `processes` meanwhile.
    pub async fn run(&self, address: SocketAddr, processes: &[(&'static str, u32)]) -> anyhow::Result<Row> {
        let times =
            || processes.iter().map(|(_, id)| processor_time_us(*id)).collect::<anyhow::Result<Vec<_>>>();
        let next = AtomicUsize::new(0);
        let (before, own_before, start) = (times()?, processor_time_us(std::process::id())?, Instant::now());
        let lanes = try_join_all((0..self.connections).map(|_| self.lane(address, &next))).await?;
        let elapsed = start.elapsed();
        let (after, own_after) = (times()?, processor_time_us(std::process::id())?);

        let count = self.callbacks.len() as f64;
        let mut latency = Histogram::new(3)?;
        for lane in lanes {
            latency.add(lane)?;
        }
        let costs = processes.iter().zip(before.iter().zip(after));
        Ok(Row {
            rate: count / elapsed.as_secs_f64(),
            latency: Some(latency),
            driver_us: (own_after - own_before) / count,
            costs_us: costs.map(|((name, _), (before, after))| (*name, (after - before) / count)).collect(),
        })
    }

    /// Sends every request once to `address`, and meanwhile the `stops` one after the other: how long those took, in
    /// microseconds, from the request to the answer, from which on nobody writes to the person.
    pub async fn run_with_stops(
        &self,
        address: SocketAddr,
        stops: &[Vec<u8>],
    ) -> anyhow::Result<(Row, Histogram<u64>)> {
        let (row, latency) = tokio::join!(self.run(address, &[]), async {
            let mut connection = TcpStream::connect(address).await?;
            connection.set_nodelay(true)?;
            let mut latency = Histogram::new(3)?;
            for stop in stops {
                tokio::time::sleep(STOP_INTERVAL).await;
                latency.record(exchange(&mut connection, stop, REPLY_TAKEN).await?)?;
            }
            anyhow::Ok(latency)
        });
        Ok((row?, latency?))
    }

    /// One connection's life: latencies in microseconds.
    async fn lane(&self, address: SocketAddr, next: &AtomicUsize) -> anyhow::Result<Histogram<u64>> {
        let mut connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        let mut latency = Histogram::new(3)?;
        while let Some(request) = self.callbacks.get(next.fetch_add(1, Ordering::Relaxed)) {
            latency.record(exchange(&mut connection, request, CALLBACK_TAKEN).await?)?;
        }
        Ok(latency)
    }
}

/// An answer as it is to be.
pub struct Expected {
    status: &'static str,
    end: &'static [u8],
}

/// That to a callback.
pub const CALLBACK_TAKEN: Expected = Expected { status: "HTTP/1.1 204", end: b"\r\n\r\n" };

/// That to what a person has written, to which the service says nothing itself.
pub const REPLY_TAKEN: Expected = Expected { status: "HTTP/1.1 200", end: b"<Response/>" };

/// Sends one request and reads its answer: how long it took, in microseconds.
pub async fn exchange(connection: &mut TcpStream, request: &[u8], expected: Expected) -> anyhow::Result<u64> {
    let (mut answer, mut read) = ([0; 4_096], 0);
    let start = Instant::now();
    connection.write_all(request).await?;
    while !answer[..read].ends_with(expected.end) {
        let more = connection.read(&mut answer[read..]).await?;
        ensure!(more > 0, "the connection was closed");
        read += more;
    }
    let took = start.elapsed().as_micros() as u64;
    let answer = std::str::from_utf8(&answer[..read]).context("an answer that is no text")?;
    ensure!(answer.starts_with(expected.status), "answered {answer}");
    Ok(took)
}
