-- Takes a message out of its queue, unless something is left to be done for it.
--
-- KEYS[1]  hash        <prefix>:{<organization>:<partition>}:out:<id>
-- KEYS[2]  sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
-- KEYS[3]  set         <prefix>:{<organization>:<partition>}:flows           every flow in which a message is queued
--
-- ARGV[1]  the message's id
-- ARGV[2]  the lowest rank of a state in which nothing is left to be done
-- ARGV[3]  its flow
--
-- Returns 1: it is not in the queue any more. 0: it stays.
local rank = redis.call('HGET', KEYS[1], 'rank')
if rank and tonumber(rank) < tonumber(ARGV[2]) then
  return 0
end
redis.call('ZREM', KEYS[2], ARGV[1])
if redis.call('EXISTS', KEYS[2]) == 0 then
  redis.call('SREM', KEYS[3], ARGV[3])
end
return 1
