-- Takes the tasks that are due, for a while: until then nobody else gets them.
--
-- KEYS[1]  sorted set  <prefix>:{<organization>:<partition>}:tasks    task -> when it is due, milliseconds since 1970
--
-- ARGV[1]  now, milliseconds since 1970
-- ARGV[2]  until when they are taken, milliseconds since 1970
-- ARGV[3]  how many at the most
--
-- Returns the tasks, each followed by when it was due.
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for place = 1, #due, 2 do
  redis.call('ZADD', KEYS[1], ARGV[2], due[place])
end
return due
