-- Takes a message out of its queue, unless something is left to be done for it.
--
-- KEYS
--   message       hash        <prefix>:{<organization>:<partition>}:out:<id>
--   queue         sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   flows         set         <prefix>:{<organization>:<partition>}:flows           every flow in which a message is queued
--   queued_bytes  string      <prefix>:{<organization>:<partition>}:queued_bytes    the bytes of all messages that are queued
--
-- ARGV
--   id             the message's id
--   resolved_rank  the lowest rank of a state in which nothing is left to be done
--   flow           its flow
--
-- Returns 1: it is not in the queue any more. 0: it stays.
local message, queue, flows, queued_bytes = unpack(KEYS)
local id, resolved_rank, flow = unpack(ARGV)

local rank = redis.call('HGET', message, 'rank')
if rank and tonumber(rank) < tonumber(resolved_rank) then
  return 0
end
local room = tonumber(redis.call('HGET', message, 'bytes') or 0)
redis.call('DECRBY', queued_bytes, redis.call('ZREM', queue, id) * room)
if redis.call('EXISTS', queue) == 0 then
  redis.call('SREM', flows, flow)
end
return 1
