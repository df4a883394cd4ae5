-- Stores what is known of a message from elsewhere, if that is more than was known.
--
-- KEYS
--   message  hash  <prefix>:{<organization>:<partition>}:out:<id>
--
-- ARGV
--   state        the state
--   rank         its rank
--   is_resolved  1 if nothing is left to be done in it, 0 if something is
--
-- Returns 1: stored. 0: the id is not known, or its state has this rank or a higher one.
local message = unpack(KEYS)
local state, rank, is_resolved = unpack(ARGV)

local stored = redis.call('HGET', message, 'rank')
if not stored or tonumber(rank) <= tonumber(stored) then
  return 0
end
redis.call('HSET', message, 'state', state, 'rank', rank)
if is_resolved == '1' then
  redis.call('HDEL', message, 'content')
end
return 1
