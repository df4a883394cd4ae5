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
-- ARGV[2]  how many of the arguments from ARGV[3] on are the inbound entry's fields and values
-- ARGV[3…] the inbound entry's fields and values; then, if consent changes, the arguments of change_consent.lua
--
-- Returns '1': stored. '0': consent is no longer what the change was decided on, nothing written. Else the answer stored
-- before.
local answered = redis.call('GET', KEYS[1])
if answered then
  return answered
end
local change = 3 + tonumber(ARGV[2])
local changes = ARGV[change] ~= nil
if changes and (redis.call('GET', KEYS[3]) or '') ~= ARGV[change] then
  return '0'
end
redis.call('SET', KEYS[1], ARGV[1])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3, change - 1))
if not changes then
  return '1'
end
redis.call('SET', KEYS[3], ARGV[change + 1])
redis.call('ZADD', KEYS[6], 0, ARGV[change + 2])
if ARGV[change + 3] ~= '' then
  redis.call('RPUSH', KEYS[5], ARGV[change + 3])
end
if ARGV[change + 4] ~= '' then
  redis.call('HINCRBY', KEYS[7], ARGV[change + 4], 1)
  redis.call('PEXPIREAT', KEYS[7], ARGV[change + 5])
  redis.call('HINCRBY', KEYS[8], ARGV[change + 4], 1)
  redis.call('PEXPIREAT', KEYS[8], ARGV[change + 6])
end
redis.call('XADD', KEYS[4], '*', unpack(ARGV, change + 7))
return '1'
