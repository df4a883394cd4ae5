-- Records a message received, with the change of consent that it causes and the answer it gets.
--
-- KEYS
--   known          hash        <prefix>:{<organization>:<partition>}:known                known.lua
--   received       string      <prefix>:{<organization>:<partition>}:received:<sid>      the answer
--   inbound        stream      <prefix>:{<organization>:<partition>}:inbound
--   consent        string      <prefix>:{<organization>:<partition>}:consent:<person>
--   erased         string      <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   consents       stream      <prefix>:{<organization>:<partition>}:consents
--   changes        list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
--   persons        sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
--   minute_counts  hash        <prefix>:{<organization>:<partition>}:count:<minute>      counter -> count
--   hour_counts    hash        <prefix>:{<organization>:<partition>}:count:<hour>        counter -> count
--
-- ARGV
--   store            the identity of the store that is known, empty if none is
--   seen             the changes of consent that were seen in the partition
--   answer           the answer
--   changes_consent  1 if consent changes, 0 if not; then what follows up to `hour_ends` is empty
--   decided_on       the consent that the change was decided on, empty if none was stored
--   after            the consent afterwards
--   person           the person
--   change           the change as the person's list tells it, empty if it does not
--   counter          the counter of such changes, empty if they are not counted
--   minute_ends      when the minute's counts end, milliseconds since 1970
--   hour_ends        when the hour's counts end, milliseconds since 1970
--   inbound_length   how many fields and values the inbound entry has together
--   inbound_entry…   its fields and values
--   consents_entry…  the consents entry's fields and values, if consent changes
--
-- Returns a word. Only with the first is anything written.
--   stored           if consent has changed, how often it now has in the partition follows
--   consent_changed  another consent than `decided_on` is stored
--   duplicate        the message was stored before; the answer that it got then follows
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, received, inbound, consent, erased, consents, changes, persons, minute_counts, hour_counts = unpack(KEYS)
local store, seen, answer, changes_consent, decided_on, after, person, change, counter, minute_ends, hour_ends,
  inbound_length = unpack(ARGV)
local inbound_entry = { unpack(ARGV, 13, 12 + tonumber(inbound_length)) }
local consents_entry = { unpack(ARGV, 13 + tonumber(inbound_length)) }

local refused = not_known(known, store, seen)
if refused then
  return refused
end

local answered = redis.call('GET', received)
if answered then
  return { 'duplicate', answered }
end
if changes_consent == '1' and stored_consent(consent, erased) ~= decided_on then
  return { 'consent_changed' }
end
redis.call('SET', received, answer)
redis.call('XADD', inbound, '*', unpack(inbound_entry))
if changes_consent == '0' then
  return { 'stored' }
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
redis.call('XADD', consents, '*', unpack(consents_entry))
return { 'stored', redis.call('HINCRBY', known, 'changes', 1) }
