-- Changes a person's consent, if it is still what the change was decided on.
--
-- KEYS[1]  string      <prefix>:{<organization>:<partition>}:consent:<person>
-- KEYS[2]  stream      <prefix>:{<organization>:<partition>}:consents
-- KEYS[3]  list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
-- KEYS[4]  sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
-- KEYS[5]  hash        <prefix>:{<organization>:<partition>}:count:<minute>      counter -> count
-- KEYS[6]  hash        <prefix>:{<organization>:<partition>}:count:<hour>        counter -> count
--
-- ARGV[1]  the consent that the change was decided on, empty if none was stored
-- ARGV[2]  the consent afterwards
-- ARGV[3]  the person
-- ARGV[4]  the change as the person's list tells it, empty if it does not
-- ARGV[5]  the counter of such changes, empty if they are not counted
-- ARGV[6]  when the minute's counts end, milliseconds since 1970
-- ARGV[7]  when the hour's counts end, milliseconds since 1970
-- ARGV[8…] the entry's fields and values
--
-- Returns 1: changed. 0: consent is no longer as in ARGV[1], nothing written.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[4], 0, ARGV[3])
if ARGV[4] ~= '' then
  redis.call('RPUSH', KEYS[3], ARGV[4])
end
if ARGV[5] ~= '' then
  redis.call('HINCRBY', KEYS[5], ARGV[5], 1)
  redis.call('PEXPIREAT', KEYS[5], ARGV[6])
  redis.call('HINCRBY', KEYS[6], ARGV[5], 1)
  redis.call('PEXPIREAT', KEYS[6], ARGV[7])
end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 8))
return 1
