-- Asks whether a message may begin to leave whose recipient is kept in another partition than the message. One that may
-- has begun: it is stored by another script.
--
-- KEYS
--   known    hash    <prefix>:{<organization>:<partition>}:known             known.lua
--   consent  string  <prefix>:{<organization>:<partition>}:consent:<person>
--   erased   string  <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   last     string  <prefix>:{<organization>:<partition>}:last:<person>     when the person was last sent to
--   call     string  <prefix>:{<organization>:<partition>}:call:<random>     there once the call has passed a cooldown
--
-- ARGV
--   store       the identity of the store that is known, empty if none is
--   seen        the changes of consent that were seen in the partition
--   decided_on  the recipient's consent that it was decided on, empty if none was stored
--   now         milliseconds since 1970
--   cooldown    the least time between two messages to the recipient, milliseconds
--   call_kept   how long it is known that the call has passed, milliseconds
--
-- Returns a word. Only with the first is anything written.
--   passed
--   consent_changed  another consent than `decided_on` is stored
--   cooling_down     the recipient is not to be sent to yet; until when follows, milliseconds since 1970
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, consent, erased, last, call = unpack(KEYS)
local store, seen, decided_on, now, cooldown, call_kept = unpack(ARGV)

local refused = not_known(known, store, seen)
if refused then
  return refused
end

if redis.call('EXISTS', call) == 1 then
  return { 'passed' }
end
if stored_consent(consent, erased) ~= decided_on then
  return { 'consent_changed' }
end
if cooldown ~= '0' then
  local sent = redis.call('GET', last)
  local cooled_at = sent and tonumber(sent) + tonumber(cooldown)
  if cooled_at and cooled_at > tonumber(now) then
    return { 'cooling_down', cooled_at }
  end
  redis.call('SET', last, now, 'PX', cooldown)
  redis.call('SET', call, 1, 'PX', call_kept)
end
return { 'passed' }
