-- Erases what is kept of a person's consent, if it is still what was decided on. What is still to be obeyed is kept under
-- their pseudonym.
--
-- KEYS
--   consent     string      <prefix>:{<organization>:<partition>}:consent:<person>    or of which person it is another name
--   erased      string      <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   changes     list        <prefix>:{<organization>:<partition>}:changes:<person>    every change, oldest first
--   persons     sorted set  <prefix>:{<organization>:<partition>}:persons             everybody whose consent ever changed
--   last        string      <prefix>:{<organization>:<partition>}:last:<person>       when the person was last sent to
--
-- ARGV
--   decided_on  what is stored, empty if nothing is
--   kept        the consent that is still to be obeyed, empty for none
--   person      the name
--
-- Returns 1: erased. 0: something else is stored, nothing written.
local consent, erased, changes, persons, last = unpack(KEYS)
local decided_on, kept, person = unpack(ARGV)

if stored_consent(consent, erased) ~= decided_on then
  return 0
end
if kept == '' then
  redis.call('DEL', erased)
else
  redis.call('SET', erased, kept)
end
redis.call('DEL', consent, changes, last)
redis.call('ZREM', persons, person)
return 1
