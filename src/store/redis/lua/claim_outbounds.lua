-- Takes messages of a flow that are due, for a while: until then nobody else gets them.
--
-- KEYS
--   queue   sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   due     sorted set  <prefix>:{<organization>:<partition>}:due             flow -> when to look at its first message
--   urgent  sorted set  <prefix>:{<organization>:<partition>}:due:urgent      the same of urgent flows
--   queued  hash        <prefix>:{<organization>:<partition>}:queued          the messages that are queued, and their bytes
--
-- ARGV
--   now          milliseconds since 1970
--   taken_until  until when they are taken, milliseconds since 1970
--   limit        how many at the most
--   flow         the flow
--
-- Returns their ids, the longest due first.
local queue, due, urgent, queued = unpack(KEYS)
local now, taken_until, limit, flow = unpack(ARGV)

local taken = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'LIMIT', 0, limit)
for _, id in ipairs(taken) do
  redis.call('ZADD', queue, taken_until, id)
end
-- Also if there are none: what was noted of the flow does not hold then.
note_first(queue, due, urgent, flow)
forget_counts(queued, due, urgent)
return taken
