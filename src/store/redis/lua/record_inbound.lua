-- Records a message received, with the change of consent that it causes and the answer it gets.
--
-- KEYS[1]  string  <prefix>:{<organization>:<partition>}:received:<sid>     the answer
-- KEYS[2]  stream  <prefix>:{<organization>:<partition>}:inbound
-- KEYS[3]  string  <prefix>:{<organization>:<partition>}:consent:<person>
-- KEYS[4]  stream  <prefix>:{<organization>:<partition>}:consents
--
-- ARGV[1]  the answer
-- ARGV[2]  1 if consent changes, 0 if not
-- ARGV[3]  the consent that the change was decided on, empty if none was stored
-- ARGV[4]  the consent afterwards
-- ARGV[5]  how many of the arguments from ARGV[6] on are the inbound entry's fields and values
-- ARGV[6…] the inbound entry's fields and values, then the consents entry's
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
local consents = 6 + tonumber(ARGV[5])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 6, consents - 1))
if changes then
  redis.call('SET', KEYS[3], ARGV[4])
  redis.call('XADD', KEYS[4], '*', unpack(ARGV, consents))
end
return '1'
