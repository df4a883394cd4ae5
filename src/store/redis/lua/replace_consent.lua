-- Puts another consent in the place of a person's, if it is still what the change was decided on: no wish changes by it.
--
-- KEYS
--   known       hash    <prefix>:{<organization>:<partition>}:known             known.lua
--   consent     string  <prefix>:{<organization>:<partition>}:consent:<person>
--   erased      string  <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--
-- ARGV
--   store       the identity of the store that is known, empty if none is
--   seen        the changes of consent that were seen in the partition
--   decided_on  the consent that the change was decided on, empty if none was stored
--   after       the consent afterwards
--
-- Returns 1: changed. 0: another consent than `decided_on` is stored, nothing written.
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, consent, erased = unpack(KEYS)
local store, seen, decided_on, after = unpack(ARGV)

local refused = not_known(known, store, seen)
if refused then
  return refused
end

if stored_consent(consent, erased) ~= decided_on then
  return 0
end
redis.call('SET', consent, after)
redis.call('DEL', erased)
return 1
