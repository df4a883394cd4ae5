-- What is stored of a person's consent, in one step: read one after the other, neither is found of a person who is erased or
-- becomes known again in between, and their opt-out would look as if there were none.
--
-- KEYS
--   consent  string  <prefix>:{<organization>:<partition>}:consent:<person>    consent, or the name of the same person, JSON
--   erased   string  <prefix>:{<organization>:<partition>}:erased:<pseudonym>  what is still to be obeyed of them, JSON
--
-- Returns both, nil for what is not there.
local consent, erased = unpack(KEYS)

return { redis.call('GET', consent), redis.call('GET', erased) }
