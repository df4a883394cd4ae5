-- Takes what is due, for a while: until then nobody else gets it.
--
-- KEYS
--   queue  sorted set  <prefix>:{<organization>:<partition>}:tasks           task -> when it is due, milliseconds since 1970
--                   or <prefix>:{<organization>:<partition>}:relays          the same
--
-- ARGV
--   now          milliseconds since 1970
--   taken_until  until when they are taken, milliseconds since 1970
--   limit        how many at the most
--
-- Returns what is due, each followed by when it was.
local queue = unpack(KEYS)
local now, taken_until, limit = unpack(ARGV)

local due = redis.call('ZRANGEBYSCORE', queue, '-inf', now, 'WITHSCORES', 'LIMIT', 0, limit)
for place = 1, #due, 2 do
  redis.call('ZADD', queue, taken_until, due[place])
end
return due
