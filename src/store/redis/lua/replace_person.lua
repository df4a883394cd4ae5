-- Puts what is kept under the name of a person in the place of what was, if nothing has changed since that was read.
--
-- KEYS
--   known    hash        <prefix>:{<organization>:<partition>}:known               known.lua
--   consent  string      <prefix>:{<organization>:<partition>}:consent:<person>
--   erased   string      <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   changes  list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
--   persons  sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
--
-- ARGV
--   store       the identity of the store that is known, empty if none is
--   seen        the changes of consent that were seen in the partition
--   decided_on  the consent that was read, empty if none was stored
--   listed      how many changes were listed
--   after       the consent afterwards, empty for none
--   person      the name
--   is_person   1 if it is a person's own name, 0 if it is another name of one, or nobody's any more
--   changes…    every change afterwards
--
-- Returns how often consent has changed in the partition, this change counted. 0: something else is stored, nothing written.
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, consent, erased, changes, persons = unpack(KEYS)
local store, seen, decided_on, listed, after, person, is_person = unpack(ARGV)

local refused = not_known(known, store, seen)
if refused then
  return refused
end

if stored_consent(consent, erased) ~= decided_on or redis.call('LLEN', changes) ~= tonumber(listed) then
  return 0
end
redis.call('DEL', erased)
if after == '' then
  redis.call('DEL', consent)
else
  redis.call('SET', consent, after)
end
if is_person == '1' then
  redis.call('ZADD', persons, 0, person)
else
  redis.call('ZREM', persons, person)
end
redis.call('DEL', changes)
for place = 8, #ARGV do
  redis.call('RPUSH', changes, ARGV[place])
end
return redis.call('HINCRBY', known, 'changes', 1)
