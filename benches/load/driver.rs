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
            let mut answer = [0; 4_096];
            for stop in stops {
                tokio::time::sleep(STOP_INTERVAL).await;
                let start = Instant::now();
                connection.write_all(stop).await?;
                let mut read = 0;
                while !answer[..read].ends_with(b"<Response/>") {
                    let more = connection.read(&mut answer[read..]).await?;
                    ensure!(more > 0, "the connection was closed");
                    read += more;
                }
                latency.record(start.elapsed().as_micros() as u64)?;
                ensure!(answer.starts_with(b"HTTP/1.1 200"), "a STOP was not taken");
            }
            Ok(latency)
        });
        Ok((row?, latency?))
    }

    /// One connection's life: latencies in microseconds.
    async fn lane(&self, address: SocketAddr, next: &AtomicUsize) -> anyhow::Result<Histogram<u64>> {
        let mut connection = TcpStream::connect(address).await?;
        connection.set_nodelay(true)?;
        let mut latency = Histogram::new(3)?;
        let mut answer = [0; 4_096];
        while let Some(request) = self.callbacks.get(next.fetch_add(1, Ordering::Relaxed)) {
            let start = Instant::now();
            connection.write_all(request).await?;
            let mut read = 0;
            while !answer[..read].ends_with(b"\r\n\r\n") {
                let more = connection.read(&mut answer[read..]).await?;
                ensure!(more > 0, "the connection was closed");
                read += more;
            }
            latency.record(start.elapsed().as_micros() as u64)?;
            ensure!(
                answer.starts_with(b"HTTP/1.1 204"),
                "answered {}",
                std::str::from_utf8(&answer[..read]).context("an answer that is no text")?
            );
        }
        Ok(latency)
    }
}
