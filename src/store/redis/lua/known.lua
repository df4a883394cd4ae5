-- What scripts ask first by which a message leaves, consent changes, or what Twilio told is recorded. It is put before their
-- sources.

-- An error if the partition whose hash is `known` is not of `store`, or has had fewer changes of consent than the `seen` ones;
-- nothing if no store is known.
local function not_known(known, store, seen)
  if store == '' then
    return nil
  end
  local there = redis.call('HMGET', known, 'store', 'changes')
  if there[1] == store and tonumber(there[2] or 0) >= tonumber(seen) then
    return nil
  end
  return redis.error_reply('NOTKNOWN the partition is not of the store that is known')
end
