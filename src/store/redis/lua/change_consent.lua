-- Changes a person's consent, if it is still what the change was decided on.
--
-- KEYS
--   known          hash        <prefix>:{<organization>:<partition>}:known               known.lua
--   consent        string      <prefix>:{<organization>:<partition>}:consent:<person>
--   erased         string      <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   consents       stream      <prefix>:{<organization>:<partition>}:consents
--   changes        list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
--   persons        sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
--   minute_counts  hash        <prefix>:{<organization>:<partition>}:count:<minute>      counter -> count
--   hour_counts    hash        <prefix>:{<organization>:<partition>}:count:<hour>        counter -> count
--   audit          stream      <prefix>:{<organization>:<partition>}:audit               who did what
--
-- ARGV
--   store        the identity of the store that is known, empty if none is
--   seen         the changes of consent that were seen in the partition
--   decided_on   the consent that the change was decided on, empty if none was stored
--   after        the consent afterwards
--   person       the person
--   change       the change as the person's list tells it, empty if it does not
--   counter      the counter of such changes, empty if they are not counted
--   minute_ends  when the minute's counts end, milliseconds since 1970
--   hour_ends    when the hour's counts end, milliseconds since 1970
--   audit_entry  the audit's entry of the change, empty for none
--   entry…       the entry's fields and values
--
-- Returns how often consent has changed in the partition, this change counted. 0: another consent than `decided_on` is stored,
-- nothing written.
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, consent, erased, consents, changes, persons, minute_counts, hour_counts, audit = unpack(KEYS)
local store, seen, decided_on, after, person, change, counter, minute_ends, hour_ends, audit_entry = unpack(ARGV)
local entry = { unpack(ARGV, 11) }

local refused = not_known(known, store, seen)
if refused then
  return refused
end

if stored_consent(consent, erased) ~= decided_on then
  return 0
end
-- First, so that nothing is changed if it cannot be added.
if audit_entry ~= '' then
  redis.call('XADD', audit, '*', 'entry', audit_entry)
end
redis.call('SET', consent, after)
redis.call('DEL', erased)
redis.call('ZADD', persons, 0, person)
if change ~= '' then
  redis.call('RPUSH', changes, change)
end
if counter ~= '' then
  redis.call('HINCRBY', minute_counts, counter, 1)
  redis.call('PEXPIREAT', minute_counts, minute_ends)
  redis.call('HINCRBY', hour_counts, counter, 1)
  redis.call('PEXPIREAT', hour_counts, hour_ends)
end
redis.call('XADD', consents, '*', unpack(entry))
return redis.call('HINCRBY', known, 'changes', 1)
