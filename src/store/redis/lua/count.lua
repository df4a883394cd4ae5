-- Adds one to a counter, unless it has come to its end.
--
-- KEYS[1]  string  <prefix>:{<organization>:<partition>}:counter:<name>
--
-- ARGV[1]  the most that it counts to
-- ARGV[2]  how long it is kept from its first count on, milliseconds
--
-- Returns the count, 0 if it is at its most already.
local count = tonumber(redis.call('GET', KEYS[1]) or 0)
if count >= tonumber(ARGV[1]) then
  return 0
end
if count == 0 then
  redis.call('SET', KEYS[1], 1, 'PX', ARGV[2])
  return 1
end
return redis.call('INCR', KEYS[1])
