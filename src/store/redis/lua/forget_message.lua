-- Takes away what was asked for, and last the message's place in the history, which leads to all the rest.
--
-- KEYS
--   history   stream  <prefix>:{<organization>:<partition>}:history
--   message?  hash    <prefix>:{<organization>:<partition>}:out:<id>   left out if it was sent elsewhere
--
-- ARGV
--   place          the entry of the history; another may be there
--   name           the message's name in it
--   resolved_rank  the lowest rank of a state in which nothing is left to be done
--
-- Returns 1: it is gone. 0: something is left to be done for it, and it stays.
local history, message = unpack(KEYS)
local place, name, resolved_rank = unpack(ARGV)

if message then
  local rank = redis.call('HGET', message, 'rank')
  if rank and tonumber(rank) < tonumber(resolved_rank) then
    return 0
  end
  redis.call('DEL', message)
end
local entry = redis.call('XRANGE', history, place, place)[1]
if entry and entry[2][2] == name then
  redis.call('XDEL', history, place)
end
return 1
