-- Puts another consent in the place of a person's, if it is still what the change was decided on: no wish changes by it.
--
-- KEYS
--   consent     string  <prefix>:{<organization>:<partition>}:consent:<person>
--   erased      string  <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--
-- ARGV
--   decided_on  the consent that the change was decided on, empty if none was stored
--   after       the consent afterwards
--
-- Returns 1: changed. 0: another consent than `decided_on` is stored, nothing written.
local consent, erased = unpack(KEYS)
local decided_on, after = unpack(ARGV)

if stored_consent(consent, erased) ~= decided_on then
  return 0
end
redis.call('SET', consent, after)
redis.call('DEL', erased)
return 1
