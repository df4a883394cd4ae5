-- Takes what is due, for a while: until then nobody else gets it.
--
-- KEYS[1]  sorted set  <prefix>:{<organization>:<partition>}:tasks           task -> when it is due, milliseconds since 1970
--                   or <prefix>:{<organization>:<partition>}:relays          the same
--                   or <prefix>:{<organization>:<partition>}:queue:<flow>    message id -> the same
--
-- ARGV[1]  now, milliseconds since 1970
-- ARGV[2]  until when they are taken, milliseconds since 1970
-- ARGV[3]  how many at the most
--
-- Returns what is due, each followed by when it was.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for place = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], ARGV[2], due[place])
end
return due
