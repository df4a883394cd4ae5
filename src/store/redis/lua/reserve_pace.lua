-- Gives a sender time to send in, behind all that it has been given before.
--
-- KEYS[1]  string  <prefix>:{<organization>:<partition>}:pace:<sender>    until when it has been given, microseconds since 1970
--
-- ARGV[1]  now, microseconds since 1970
-- ARGV[2]  how much, microseconds; 0 only asks
-- ARGV[3]  how long to keep what has passed, milliseconds
--
-- Returns when the time begins, microseconds since 1970.
local now, cost = tonumber(ARGV[1]), tonumber(ARGV[2])
local start = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), now)
if cost > 0 then
  local keep = math.floor((start + cost - now) / 1000) + tonumber(ARGV[3])
  redis.call('SET', KEYS[1], string.format('%.0f', start + cost), 'PX', keep)
end
return string.format('%.0f', start)
