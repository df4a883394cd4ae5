-- Adds to a counter, unless it would be more than it may be.
--
-- KEYS
--   counter  string  <prefix>:{<organization>:<partition>}:counter:<name>
--
-- ARGV
--   amount  what is added; 0 only asks
--   max     the most that it counts to
--   keep    how long it is kept from its first count on, milliseconds
--
-- Returns 1 and the count, or 0 and the count as it stays.
local counter = unpack(KEYS)
local amount, max, keep = unpack(ARGV)

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
return { 1, after }
