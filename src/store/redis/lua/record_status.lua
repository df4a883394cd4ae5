-- Records one status of one message, unless this status with this error is recorded already.
--
-- KEYS
--   known          hash        <prefix>:{<organization>:<partition>}:known             known.lua
--   messages       hash        <prefix>:{<organization>:<partition>}:msg:<xyz>         message SID -> record (record.rs)
--   deliveries     stream      <prefix>:{<organization>:<partition>}:deliveries
--   raw            hash        <prefix>:{<organization>:<partition>}:raw               entry -> unknown parameters
--   tasks          sorted set  <prefix>:{<organization>:<partition>}:tasks             task -> when it is due, milliseconds
--                                                                                      since 1970
--   history        stream      <prefix>:{<organization>:<partition>}:history
--   minute_counts  hash        <prefix>:{<organization>:<partition>}:count:<minute>    counter -> count
--   hour_counts    hash        <prefix>:{<organization>:<partition>}:count:<hour>      counter -> count
--   recipients?    sorted set  <prefix>:{<organization>:<partition>}:history:<xyz>     recipient, place and message; left out
--                                                                                      if the recipient's partition is another
--
-- ARGV
--   store        the identity of the store that is known, empty if none is
--   seen         the changes of consent that were seen in the partition
--   sid          the message's SID
--   id           our own id of it, empty if not known
--   rank         the status's rank, 0 if it moves nothing
--   word         the status as a word of the record
--   token        the token of status and error
--   unknown      unknown parameters, empty if none
--   status       from here to `at` the entry's fields, as Twilio said them
--   channel
--   to
--   from
--   error_code
--   batch
--   source
--   at           milliseconds since 1970
--   ask_at       when to ask for the message if this is the first of it, milliseconds since 1970; empty for never
--   is_final     1 if a message with this status is at its end, 0 if not
--   minute_ends  when the minute's counts end, milliseconds since 1970
--   hour_ends    when the hour's counts end, milliseconds since 1970
--   latency      the counter of the time since the message's first status, to which its quarters of doublings of a
--                millisecond are added; empty if it is not counted
--   recipient    the recipient, as the history of recipients names it
--   counters…    the counters of a message that moves to this status
--
-- Returns words with a space between them. The first is what became of the status:
--   moved                the message moved to it
--   late                 it is recorded, the message stays
--   duplicate            it was recorded before, and no entry is written
-- What may follow:
--   learned_id           the record has `id` now and had none before; or it has it and the status is a duplicate
--   recipient_elsewhere  the message was entered in the history, and not in that of its recipient, now or when the same was
--                        recorded before; when follows, milliseconds since 1970
-- Or the error NOTKNOWN, nothing written: the partition is not of the store that is known.
local known, messages, deliveries, raw, tasks, history, minute_counts, hour_counts, recipients = unpack(KEYS)
local store, seen, sid, id, rank, word, token, unknown, status, channel, to, from, error_code, batch, source, at,
  ask_at, is_final, minute_ends, hour_ends, latency, recipient = unpack(ARGV)

local refused = not_known(known, store, seen)
if refused then
  return refused
end

local record = redis.call('HGET', messages, sid)
local reached_rank, reached, known_id, recorded = '0', '', '', ''
if record then
  reached_rank, reached, known_id, recorded = string.match(record, '^(%d+);([^;]*);([^;]*);(.*)$')
end
local learned = known_id == '' and id ~= ''
if learned then
  known_id = id
end

if record and string.find(';' .. recorded, ';' .. token .. '@', 1, true) then
  if learned then
    redis.call('HSET', messages, sid, reached_rank .. ';' .. reached .. ';' .. known_id .. ';' .. recorded)
  end
  local result = known_id ~= '' and known_id == id and 'duplicate learned_id' or 'duplicate'
  -- What was to be done in the other partition may not have been done, and is the same when it is done again.
  local entered = known_id == '' and not recipients and recipient ~= ''
    and string.match(recorded, '^' .. string.gsub(token, '%p', '%%%0') .. '@(%x+)')
  if entered then
    result = result .. ' recipient_elsewhere ' .. string.format('%.0f', tonumber(entered, 16))
  end
  return result
end

local moves = tonumber(rank) > tonumber(reached_rank)
local result = moves and 'moved' or 'late'
if learned then
  result = result .. ' learned_id'
end

local entry = redis.call('XADD', deliveries, '*',
  'sid', sid, 'id', known_id, 'status', status, 'previous', reached, 'late', moves and '0' or '1', 'channel', channel,
  'to', to, 'from', from, 'error_code', error_code, 'batch', batch, 'source', source, 'at', at)

local ms, seq = string.match(entry, '^(%d+)%-(%d+)$')
local first = string.match(recorded, '@(%x+)')
local since_first = tonumber(ms) - (first and tonumber(first, 16) or 0)
local place = string.format('%x', since_first)
local ask = sid .. '@' .. (first or place)
if seq ~= '0' then
  place = place .. string.format('-%x', tonumber(seq))
end
if moves then
  reached_rank, reached = rank, word
end
redis.call('HSET', messages, sid,
  reached_rank .. ';' .. reached .. ';' .. known_id .. ';' .. recorded .. token .. '@' .. place .. ';')

if record and moves and is_final == '1' then
  redis.call('ZREM', tasks, ask)
elseif not record and ask_at ~= '' and is_final == '0' then
  redis.call('ZADD', tasks, ask_at, ask)
end
if unknown ~= '' then
  redis.call('HSET', raw, entry, unknown)
end
if not record and known_id == '' then
  local entered_ms, entered_seq = string.match(redis.call('XADD', history, '*', 'm', sid, 'to', to), '^(%d+)%-(%d+)$')
  if recipients then
    local entered = string.format('%011x%05x', tonumber(entered_ms), tonumber(entered_seq))
    redis.call('ZADD', recipients, 0, recipient .. ':' .. entered .. ':' .. sid)
  elseif recipient ~= '' then
    result = result .. ' recipient_elsewhere ' .. ms
  end
end
if moves then
  local counters = { unpack(ARGV, 23) }
  if latency ~= '' and first then
    local step = math.floor(4 * math.log(math.max(since_first, 1)) / math.log(2))
    table.insert(counters, latency .. ' ' .. string.format('%d', step))
  end
  for _, counter in ipairs(counters) do
    -- The first of its kind may have made the hash.
    if redis.call('HINCRBY', minute_counts, counter, 1) == 1 then
      redis.call('PEXPIREAT', minute_counts, minute_ends)
    end
    if redis.call('HINCRBY', hour_counts, counter, 1) == 1 then
      redis.call('PEXPIREAT', hour_counts, hour_ends)
    end
  end
end
return result
