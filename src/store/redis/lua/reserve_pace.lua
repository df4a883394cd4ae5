-- Gives a sender time to send in, behind all that it has been given before, once for each call.
--
-- KEYS
--   pace  string  <prefix>:{<organization>:<partition>}:pace:<sender>    until when it has been given, microseconds since 1970
--   call  string  <prefix>:{<organization>:<partition>}:call:<random>    when its time begins, once the call has given it
--
-- ARGV
--   now    microseconds since 1970
--   cost   how much, microseconds; 0 only asks
--   keep   how long to keep what has passed, milliseconds
--   known  how long it is known that the call has given it, milliseconds
--
-- Returns when the time begins, microseconds since 1970.
local pace, call = unpack(KEYS)
local now, cost, keep, known = unpack(ARGV)

local given = redis.call('GET', call)
if given then
  return given
end
local start = math.max(tonumber(redis.call('GET', pace) or 0), tonumber(now))
if tonumber(cost) > 0 then
  local finish = start + tonumber(cost)
  local kept = math.floor((finish - tonumber(now)) / 1000) + tonumber(keep)
  redis.call('SET', pace, string.format('%.0f', finish), 'PX', kept)
  redis.call('SET', call, string.format('%.0f', start), 'PX', known)
end
return string.format('%.0f', start)
