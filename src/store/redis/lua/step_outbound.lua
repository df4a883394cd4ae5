-- Stores a new message, or takes one from one state to another; with a gate, if it passes that.
--
-- KEYS
--   known        hash        <prefix>:{<organization>:<partition>}:known             known.lua
--   message      hash        <prefix>:{<organization>:<partition>}:out:<id>
--   queue        sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>      message id -> when to look at it
--   consent      string      <prefix>:{<organization>:<partition>}:consent:<person>
--   erased       string      <prefix>:{<organization>:<partition>}:erased:<pseudonym>    consent of an erased person
--   last         string      <prefix>:{<organization>:<partition>}:last:<person>     when the person was last sent to
--   due          sorted set  <prefix>:{<organization>:<partition>}:due               flow -> when to look at its first message
--   urgent       sorted set  <prefix>:{<organization>:<partition>}:due:urgent        the same of urgent flows
--   queued       hash        <prefix>:{<organization>:<partition>}:queued            the messages that are queued, and their bytes
--   history      stream      <prefix>:{<organization>:<partition>}:history
--   audit        stream      <prefix>:{<organization>:<partition>}:audit             who did what
--   recipients?  sorted set  <prefix>:{<organization>:<partition>}:history:<xyz>     recipient, place and message; left out
--                                                                                    if the recipient's partition is another
--
-- ARGV
--   store        the identity of the store that is known, empty if none is
--   seen         the changes of consent that were seen in the partition
--   before       the state that it is decided on, empty for a new message
--   after        the state afterwards
--   rank         its rank
--   is_resolved  1 if nothing is left to be done in it, 0 if something is
--   id           the message's id
--   at           when to look at it next, milliseconds since 1970; empty for never
--   decided_on   the recipient's consent that it was decided on, empty if none was stored
--   now          milliseconds since 1970; empty if there is no gate, or it has been passed (pass_gate.lua)
--   cooldown     the least time between two messages to the recipient, milliseconds
--   outbound     of a new message: what was asked for
--   content      of a new message: what Twilio is to be given, sealed; empty if its batch holds that
--   bytes        of a new message: how much room it takes while it is queued
--   flow         its flow
--   recipient    the recipient, as the history of recipients names it
--   entry        what the audit says of it; empty if it says nothing
--   call         what this call alone is named by
--
-- Returns a word. Only with the first is anything written.
--   stored
--   state_changed    another state than `before` is stored, or the id is taken
--   consent_changed  another consent than `decided_on` is stored
--   cooling_down     the recipient is not to be sent to yet; until when follows, milliseconds since 1970
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, message, queue, consent, erased, last, due, urgent, queued, history, audit, recipients = unpack(KEYS)
local store, seen, before, after, rank, is_resolved, id, at, decided_on, now, cooldown, outbound, content, bytes,
  flow, recipient, entry, call = unpack(ARGV)

local refused = not_known(known, store, seen)
if refused then
  return refused
end

if (redis.call('HGET', message, 'state') or '') ~= before then
  -- The same call, whose answer was lost, finds what it has stored itself.
  return { redis.call('HGET', message, 'call') == call and 'stored' or 'state_changed' }
end
if now ~= '' then
  if stored_consent(consent, erased) ~= decided_on then
    return { 'consent_changed' }
  end
  if cooldown ~= '0' then
    local sent = redis.call('GET', last)
    local cooled_at = sent and tonumber(sent) + tonumber(cooldown)
    if cooled_at and cooled_at > tonumber(now) then
      return { 'cooling_down', cooled_at }
    end
  end
end

-- First, so that nothing is changed if it cannot be added: nor is somebody to cool down who is sent nothing.
if entry ~= '' then
  redis.call('XADD', audit, '*', 'entry', entry)
end
if now ~= '' and cooldown ~= '0' then
  redis.call('SET', last, now, 'PX', cooldown)
end
redis.call('HSET', message, 'state', after, 'rank', rank, 'call', call)
if before == '' then
  redis.call('HSET', message, 'outbound', outbound, 'bytes', bytes)
  if content ~= '' and is_resolved == '0' then
    redis.call('HSET', message, 'content', content)
  end
  local ms, seq = string.match(redis.call('XADD', history, '*', 'm', id), '^(%d+)%-(%d+)$')
  if recipients then
    local place = string.format('%011x%05x', tonumber(ms), tonumber(seq))
    redis.call('ZADD', recipients, 0, recipient .. ':' .. place .. ':' .. id)
  end
elseif is_resolved == '1' then
  redis.call('HDEL', message, 'content')
end
if at == '' then
  leave(queue, queued, message, id)
elseif redis.call('ZADD', queue, at, id) == 1 then
  redis.call('HINCRBY', queued, 'messages', 1)
  redis.call('HINCRBY', queued, 'bytes', redis.call('HGET', message, 'bytes') or 0)
end
note_first(queue, due, urgent, flow)
forget_counts(queued, due, urgent)
return { 'stored' }
