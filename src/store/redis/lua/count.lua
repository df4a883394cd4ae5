-- Adds to a counter, once for each call, unless it would be more than it may be.
--
-- KEYS
--   counter  string  <prefix>:{<organization>:<partition>}:counter:<name>
--   call     string  <prefix>:{<organization>:<partition>}:call:<random>  the count after the call, once it has counted
--
-- ARGV
--   amount  what is added; 0 only asks
--   max     the most that it counts to
--   keep    how long it is kept from its first count on, milliseconds
--   known   how long it is known that the call has counted, milliseconds
--
-- Returns 1 and the count, or 0 and the count as it stays.
local counter, call = unpack(KEYS)
local amount, max, keep, known = unpack(ARGV)

local before = redis.call('GET', call)
if before then
  return { 1, tonumber(before) }
end
local count = tonumber(redis.call('GET', counter) or 0)
local after = count + tonumber(amount)
if after > tonumber(max) then
  return { 0, count }
end
if after == count then
  return { 1, count }
end
if count == 0 then
  redis.call('SET', counter, amount, 'PX', keep)
else
  redis.call('INCRBY', counter, amount)
end
redis.call('SET', call, string.format('%.0f', after), 'PX', known)
return { 1, after }
