//! The floor under Redis: `record_status` alone, over one pipelined connection.

use std::time::Instant;

use redis::{Pipeline, aio::MultiplexedConnection};

use textledger::domain::stats::DELIVERED;

use crate::{
    processes::{RedisServer, processor_time_us},
    report::Row,
    requests::{SENDER, messages},
};

const SOURCE: &str = concat!(
    include_str!("../../src/store/redis/lua/known.lua"),
    include_str!("../../src/store/redis/lua/record_status.lua")
);

/// The identity of the store, which each call compares.
const STORE: &str = "0123456789abcdef0123456789abcdef";

/// Calls that travel together.
const PIPELINE: usize = 64;

/// Our own id of a message, as long as any.
const ID: &str = "0000123456789abc";

/// When counts may go: beyond the benchmark.
const COUNTED_UNTIL: &str = "4000000000000";

/// Rank, name, token and source of a status.
type Status = (&'static str, &'static str, &'static str, &'static str);

const CALLBACKS: [Status; 2] = [("4", "sent", "s", "callback"), ("6", "delivered", "d", "callback")];
const ACCEPTED: Status = ("2", "queued", "q", "api");

/// Records two callbacks for each of `count` messages.
pub async fn run(redis: &RedisServer, count: usize) -> anyhow::Result<Row> {
    let own = std::process::id();
    let (redis_before, own_before, start) =
        (processor_time_us(redis.id())?, processor_time_us(own)?, Instant::now());
    record(redis, count, "", &CALLBACKS).await?;
    let calls = (count * CALLBACKS.len()) as f64;
    Ok(Row {
        rate: calls / start.elapsed().as_secs_f64(),
        latency: None,
        driver_us: (processor_time_us(own)? - own_before) / calls,
        costs_us: vec![("redis", (processor_time_us(redis.id())? - redis_before) / calls)],
    })
}

/// Bytes that a message takes which was sent through us: three entries, each with our id.
pub async fn memory_of_own_messages(count: usize) -> anyhow::Result<f64> {
    let redis = RedisServer::start(&[]).await?;
    record(&redis, count, ID, &[ACCEPTED, CALLBACKS[0], CALLBACKS[1]]).await?;
    Ok(redis.grown_bytes().await? as f64 / count as f64)
}

async fn record(redis: &RedisServer, count: usize, id: &str, statuses: &[Status]) -> anyhow::Result<()> {
    let mut connection = redis.connect().await?;
    let mut known = redis::cmd("HSET");
    known.arg("tl:{default:0}:known").arg("store").arg(STORE).query_async::<()>(&mut connection).await?;
    let hash: String = redis::cmd("SCRIPT").arg("LOAD").arg(SOURCE).query_async(&mut connection).await?;
    for block in messages(count).chunks(1_000) {
        for status in statuses {
            for calls in block.chunks(PIPELINE) {
                send(&mut connection, &hash, calls, id, status).await?;
            }
        }
    }
    Ok(())
}

async fn send(
    connection: &mut MultiplexedConnection,
    hash: &str,
    messages: &[(String, String)],
    id: &str,
    (rank, status, token, source): &Status,
) -> anyhow::Result<()> {
    let mut pipeline = Pipeline::new();
    for (sid, to) in messages {
        pipeline.cmd("EVALSHA").arg(hash).arg(9).arg("tl:{default:0}:known");
        pipeline.arg(format!("tl:{{default:0}}:msg:{}", &sid[sid.len() - 3..]));
        for key in ["deliveries", "raw", "tasks", "history", "count:29400000", "count:490000"] {
            pipeline.arg(format!("tl:{{default:0}}:{key}"));
        }
        pipeline.arg(format!("tl:{{default:0}}:history:{}", &to[to.len() - 3..]));
        pipeline
            .arg(STORE)
            .arg("0")
            .arg(sid)
            .arg(id)
            .arg(*rank)
            .arg(*status)
            .arg(*token)
            .arg("")
            .arg(*status)
            .arg("sms");
        pipeline
            .arg(to)
            .arg(SENDER)
            .arg("")
            .arg("")
            .arg(*source)
            .arg("1764000000000")
            .arg("1764000900000")
            .arg(if *rank >= "5" { "1" } else { "0" })
            .arg(COUNTED_UNTIL)
            .arg(COUNTED_UNTIL)
            .arg(if *rank == "6" { DELIVERED } else { "" })
            .arg(&to[1..])
            .arg(format!("s sms {status}"));
    }
    pipeline.query_async::<Vec<String>>(connection).await?;
    Ok(())
}
