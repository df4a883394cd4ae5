-- Stores what is known of a message from elsewhere, if that is more than was known.
--
-- KEYS[1]  hash    <prefix>:{<organization>:<partition>}:out:<id>
--
-- ARGV[1]  the state
-- ARGV[2]  its rank
-- ARGV[3]  1 if nothing is left to be done in it, 0 if something is
--
-- Returns 1: stored. 0: the id is not known, or its state has this rank or a higher one.
local rank = redis.call('HGET', KEYS[1], 'rank')
if not rank or tonumber(ARGV[2]) <= tonumber(rank) then
  return 0
end
redis.call('HSET', KEYS[1], 'state', ARGV[1], 'rank', ARGV[2])
if ARGV[3] == '1' then
  redis.call('HDEL', KEYS[1], 'content')
end
return 1
