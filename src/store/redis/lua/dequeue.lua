-- Takes a message out of its queue, unless something is left to be done for it.
--
-- KEYS
--   message  hash        <prefix>:{<organization>:<partition>}:out:<id>
--   queue    sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> when to look at it
--   due      sorted set  <prefix>:{<organization>:<partition>}:due             flow -> when to look at its first message
--   urgent   sorted set  <prefix>:{<organization>:<partition>}:due:urgent      the same of urgent flows
--   queued   hash        <prefix>:{<organization>:<partition>}:queued          the messages that are queued, and their bytes
--
-- ARGV
--   id             the message's id
--   resolved_rank  the lowest rank of a state in which nothing is left to be done
--   flow           its flow
--
-- Returns 1: it is not in the queue any more. 0: it stays.
local message, queue, due, urgent, queued = unpack(KEYS)
local id, resolved_rank, flow = unpack(ARGV)

local rank = redis.call('HGET', message, 'rank')
if rank and tonumber(rank) < tonumber(resolved_rank) then
  return 0
end
leave(queue, queued, message, id)
note_first(queue, due, urgent, flow)
forget_counts(queued, due, urgent)
return 1
