-- Changes a person's consent, if it is still what the change was decided on.
--
-- KEYS[1]  string  <prefix>:{<organization>:<partition>}:consent:<person>
-- KEYS[2]  stream  <prefix>:{<organization>:<partition>}:consents
--
-- ARGV[1]  the consent that the change was decided on, empty if none was stored
-- ARGV[2]  the consent afterwards
-- ARGV[3…] the entry's fields and values
--
-- Returns 1: changed. 0: consent is no longer as in ARGV[1], nothing written.
if (redis.call('GET', KEYS[1]) or '') ~= ARGV[1] then
  return 0
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 3))
return 1
