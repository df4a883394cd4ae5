-- Notes when a flow is due that a version has queued messages in which only listed flows by name.
--
-- KEYS
--   queue   sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   due     sorted set  <prefix>:{<organization>:<partition>}:due             flow -> when to look at its first message
--   urgent  sorted set  <prefix>:{<organization>:<partition>}:due:urgent      the same of urgent flows
--   flows   set         <prefix>:{<organization>:<partition>}:flows           the flows that it listed
--
-- ARGV
--   flow  the flow
--
-- Returns 1.
local queue, due, urgent, flows = unpack(KEYS)
local flow = unpack(ARGV)

note_first(queue, due, urgent, flow)
redis.call('SREM', flows, flow)
return 1
