-- Has a partition, or the whole store, carry another identity.
--
-- KEYS
--   marked  hash  <prefix>:{<organization>:<partition>}:known, or <prefix>:{*:0}:mark
--
-- ARGV
--   before  what it carries, empty for nothing
--   after   what it carries afterwards
--
-- Returns 1: changed. 0: it carries something else, nothing written.
local marked = unpack(KEYS)
local before, after = unpack(ARGV)

if (redis.call('HGET', marked, 'store') or '') ~= before then
  return 0
end
redis.call('HSET', marked, 'store', after)
return 1
