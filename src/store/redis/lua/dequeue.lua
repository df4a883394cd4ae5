-- Takes a message out of its queue, unless something is left to be done for it.
--
-- KEYS
--   message  hash        <prefix>:{<organization>:<partition>}:out:<id>
--   queue    sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   flows    set         <prefix>:{<organization>:<partition>}:flows           every flow in which a message is queued
--   queued   hash        <prefix>:{<organization>:<partition>}:queued          the messages that are queued, and their bytes
--
-- ARGV
--   id             the message's id
--   resolved_rank  the lowest rank of a state in which nothing is left to be done
--   flow           its flow
--
-- Returns 1: it is not in the queue any more. 0: it stays.
local message, queue, flows, queued = unpack(KEYS)
local id, resolved_rank, flow = unpack(ARGV)

local rank = redis.call('HGET', message, 'rank')
if rank and tonumber(rank) < tonumber(resolved_rank) then
  return 0
end
local room = tonumber(redis.call('HGET', message, 'bytes') or 0)
if redis.call('ZREM', queue, id) == 1 then
  -- Not below zero: a version that did not count may have put it there.
  for field, amount in pairs({ messages = 1, bytes = room }) do
    local left = tonumber(redis.call('HGET', queued, field) or 0) - amount
    redis.call('HSET', queued, field, math.max(left, 0))
  end
end
if redis.call('EXISTS', queue) == 0 then
  redis.call('SREM', flows, flow)
end
if redis.call('EXISTS', flows) == 0 then
  redis.call('DEL', queued)
end
return 1
