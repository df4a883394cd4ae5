-- Records a message received, with the change of consent that it causes and the answer it gets.
--
-- KEYS[1]  string      <prefix>:{<organization>:<partition>}:received:<sid>      the answer
-- KEYS[2]  stream      <prefix>:{<organization>:<partition>}:inbound
-- KEYS[3]  string      <prefix>:{<organization>:<partition>}:consent:<person>
-- KEYS[4]  stream      <prefix>:{<organization>:<partition>}:consents
-- KEYS[5]  list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
-- KEYS[6]  sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
-- KEYS[7]  hash        <prefix>:{<organization>:<partition>}:count:<minute>      counter -> count
-- KEYS[8]  hash        <prefix>:{<organization>:<partition>}:count:<hour>        counter -> count
--
-- ARGV[1]  the answer
-- ARGV[2]  1 if consent changes, 0 if not
-- ARGV[3]  the consent that the change was decided on, empty if none was stored
-- ARGV[4]  the consent afterwards
-- ARGV[5]  the person
-- ARGV[6]  the change as the person's list tells it, empty if it does not
-- ARGV[7]  the counter of such changes, empty if they are not counted
-- ARGV[8]  when the minute's counts end, milliseconds since 1970
-- ARGV[9]  when the hour's counts end, milliseconds since 1970
-- ARGV[10] how many of the arguments from ARGV[11] on are the inbound entry's fields and values
-- ARGV[11…] the inbound entry's fields and values, then the consents entry's
--
-- Returns '1': stored. '0': consent is no longer as in ARGV[3], nothing written. Else the answer stored before.
local answered = redis.call('GET', KEYS[1])
if answered then
  return answered
end
local changes = ARGV[2] == '1'
if changes and (redis.call('GET', KEYS[3]) or '') ~= ARGV[3] then
  return '0'
end
redis.call('SET', KEYS[1], ARGV[1])
local consents = 11 + tonumber(ARGV[10])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 11, consents - 1))
if not changes then
  return '1'
end
redis.call('SET', KEYS[3], ARGV[4])
redis.call('ZADD', KEYS[6], 0, ARGV[5])
if ARGV[6] ~= '' then
  redis.call('RPUSH', KEYS[5], ARGV[6])
end
if ARGV[7] ~= '' then
  redis.call('HINCRBY', KEYS[7], ARGV[7], 1)
  redis.call('PEXPIREAT', KEYS[7], ARGV[8])
  redis.call('HINCRBY', KEYS[8], ARGV[7], 1)
  redis.call('PEXPIREAT', KEYS[8], ARGV[9])
end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, consents))
return '1'
