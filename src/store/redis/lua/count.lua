-- Adds one to a counter, unless it has come to its end.
--
-- KEYS
--   counter  string  <prefix>:{<organization>:<partition>}:counter:<name>
--
-- ARGV
--   max   the most that it counts to
--   keep  how long it is kept from its first count on, milliseconds
--
-- Returns the count, 0 if it is at its most already.
local counter = unpack(KEYS)
local max, keep = unpack(ARGV)

local count = tonumber(redis.call('GET', counter) or 0)
if count >= tonumber(max) then
  return 0
end
if count == 0 then
  redis.call('SET', counter, 1, 'PX', keep)
  return 1
end
return redis.call('INCR', counter)
