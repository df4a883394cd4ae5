-- Notes when a flow is due in which version 0.1.0, which only listed flows by name, had queued messages.
--
-- KEYS
--   queue   sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   due     sorted set  <prefix>:{<organization>:<partition>}:due             flow -> when to look at its first message
--   urgent  sorted set  <prefix>:{<organization>:<partition>}:due:urgent      the same of urgent flows
--   queued  hash        <prefix>:{<organization>:<partition>}:queued          the messages that are queued, and their bytes
--   flows   set         <prefix>:{<organization>:<partition>}:flows           the flows that it listed
--
-- ARGV
--   flow  the flow
--
-- Returns 1.
local queue, due, urgent, queued, flows = unpack(KEYS)
local flow = unpack(ARGV)

note_first(queue, due, urgent, flow)
forget_counts(queued, due, urgent)
redis.call('SREM', flows, flow)
return 1
