//! Replicas that have to hold a write before it counts.

use std::time::Duration;

use redis::{
    Cmd, Pipeline, RedisResult, Value,
    cluster_routing::{Route, SingleNodeRoutingInfo, SlotAddr},
};

use super::server::Wire;

/// How long replicas may take to hold a write.
const REPLICAS_TIME_MAX: Duration = Duration::from_secs(1);

/// How many replicas have to hold what a command has written before it counts.
pub(super) struct Replicas {
    count: u16,
    /// A key in the slot of what the command writes.
    mark: String,
}

impl Replicas {
    /// As many as `count`. Whatever is at the key `mark`, in the slot of the command's keys, is written over.
    pub(super) fn new(count: u16, mark: String) -> Self {
        Self { count, mark }
    }

    /// Sends `command` by `wire` and waits for them.
    ///
    /// `WAIT` goes by what its own connection has written last. A command that finds everything written, by a former
    /// connection maybe, writes nothing: so the mark is written behind it, and who holds that holds all before. On a cluster
    /// all three go to the node of the slot, as one: a node that has lost the slot meanwhile answers none of them.
    pub(super) async fn write(&self, command: &Cmd, wire: Wire) -> RedisResult<Value> {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.add_command(command.clone());
        pipeline.cmd("SET").arg(&self.mark).arg(1).arg("EX").arg(60);
        pipeline.cmd("WAIT").arg(self.count).arg(REPLICAS_TIME_MAX.as_millis() as u64);
        let answers = match wire {
            Wire::Single(mut connection) | Wire::Master(mut connection, _) => {
                connection.send_packed_commands(&pipeline, 0, 3).await?
            }
            Wire::Cluster(mut connection) => {
                let node = Route::with_key(&self.mark, SlotAddr::Master);
                let node = SingleNodeRoutingInfo::SpecificNode(node);
                connection.route_pipeline(pipeline, 0, 3, node).await?
            }
        };
        let (answer, _, held): (Value, Value, u16) =
            redis::from_redis_value(Value::Array(answers).extract_error()?)?;
        if held >= self.count {
            return Ok(answer);
        }
        let missing = format!("{held} of {} replicas hold what was written", self.count);
        Err(redis::make_extension_error("NOREPLICAS".to_owned(), Some(missing)))
    }
}
