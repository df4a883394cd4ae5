-- What every script does that reads a person's consent. It is put before their sources.

-- The consent of a person: what is stored under their name, or under their pseudonym once they are erased, or an empty text.
-- There is one of them at the most.
local function stored_consent(consent, erased)
  return redis.call('GET', consent) or redis.call('GET', erased) or ''
end

