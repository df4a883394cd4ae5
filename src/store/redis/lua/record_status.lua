-- Records one status of one message, unless this status with this error is recorded already.
--
-- KEYS[1]  hash    <prefix>:{<organization>:<partition>}:msg:<xyz>    message SID -> record (record.rs)
-- KEYS[2]  stream  <prefix>:{<organization>:<partition>}:deliveries
-- KEYS[3]  hash    <prefix>:{<organization>:<partition>}:raw          entry -> unknown parameters
-- KEYS[4]  sorted set <prefix>:{<organization>:<partition>}:tasks    task -> when it is due, milliseconds since 1970
-- KEYS[5]  stream  <prefix>:{<organization>:<partition>}:history
-- KEYS[6]  hash    <prefix>:{<organization>:<partition>}:count:<minute>    counter -> count
-- KEYS[7]  hash    <prefix>:{<organization>:<partition>}:count:<hour>      counter -> count
-- KEYS[8]  sorted set <prefix>:{<organization>:<partition>}:history:<xyz>  recipient, place and message; left out if the
--                  recipient's partition is another
--
-- ARGV[1]  message SID
-- ARGV[2]  our own id, empty if not known
-- ARGV[3]  rank of the status, 0 if it moves nothing
-- ARGV[4]  the status as a word of the record
-- ARGV[5]  token of status and error
-- ARGV[6]  unknown parameters, empty if none
-- ARGV[7]  the entry's fields, as Twilio said them: status
-- ARGV[8]  channel
-- ARGV[9]  to
-- ARGV[10] from
-- ARGV[11] error code
-- ARGV[12] batch
-- ARGV[13] source
-- ARGV[14] milliseconds since 1970
-- ARGV[15] when to ask for the message if this is the first of it, milliseconds since 1970; empty for never
-- ARGV[16] 1 if a message with this status is at its end, 0 if not
-- ARGV[17] when the minute's counts end, milliseconds since 1970
-- ARGV[18] when the hour's counts end, milliseconds since 1970
-- ARGV[19] the counter of the time since the message's first status, to which its quarters of doublings of a
--          millisecond are added; empty if it is not counted
-- ARGV[20] the recipient, as the history of recipients names it
-- ARGV[21…] the counters of a message that moves to this status
--
-- Returns 0: recorded before, no entry written. 1: the message moved. 2: recorded, the message stays.
-- 4 more: the record has ARGV[2] as its id, and had none before, or the status was recorded before. 8 more: the message was entered in the
-- history, and not in that of its recipient.
local record = redis.call('HGET', KEYS[1], ARGV[1])
local rank, status, id, seen = 0, '', '', ''
if record then
  local head, reached, known, rest = string.match(record, '^(%d+);([^;]*);([^;]*);(.*)$')
  rank, status, id, seen = tonumber(head), reached, known, rest
  if string.find(';' .. seen, ';' .. ARGV[5] .. '@', 1, true) then
    if id == '' and ARGV[2] ~= '' then
      id = ARGV[2]
      redis.call('HSET', KEYS[1], ARGV[1], rank .. ';' .. status .. ';' .. id .. ';' .. seen)
    end
    return id ~= '' and id == ARGV[2] and 4 or 0
  end
end

local result, late, previous = 2, '1', status
local moves = tonumber(ARGV[3]) > rank
if moves then
  result, late, rank, status = 1, '0', ARGV[3], ARGV[4]
end
if id == '' and ARGV[2] ~= '' then
  result, id = result + 4, ARGV[2]
end

local entry = redis.call('XADD', KEYS[2], '*',
  'sid', ARGV[1], 'id', id, 'status', ARGV[7], 'previous', previous, 'late', late, 'channel', ARGV[8],
  'to', ARGV[9], 'from', ARGV[10], 'error_code', ARGV[11], 'batch', ARGV[12], 'source', ARGV[13], 'at', ARGV[14])

local ms, seq = string.match(entry, '^(%d+)%-(%d+)$')
local first = string.match(seen, '@(%x+)')
local place = string.format('%x', tonumber(ms) - (first and tonumber(first, 16) or 0))
local ask = ARGV[1] .. '@' .. (first or place)
if seq ~= '0' then
  place = place .. string.format('-%x', tonumber(seq))
end
redis.call('HSET', KEYS[1], ARGV[1], rank .. ';' .. status .. ';' .. id .. ';' .. seen .. ARGV[5] .. '@' .. place .. ';')
if record and moves and ARGV[16] == '1' then
  redis.call('ZREM', KEYS[4], ask)
elseif not record and ARGV[15] ~= '' and ARGV[16] == '0' then
  redis.call('ZADD', KEYS[4], ARGV[15], ask)
end
if ARGV[6] ~= '' then
  redis.call('HSET', KEYS[3], entry, ARGV[6])
end
if not record and id == '' then
  local entered = redis.call('XADD', KEYS[5], '*', 'm', ARGV[1])
  if KEYS[8] then
    local at, after = string.match(entered, '^(%d+)%-(%d+)$')
    local place = string.format('%011x%05x:', tonumber(at), tonumber(after))
    redis.call('ZADD', KEYS[8], 0, ARGV[20] .. ':' .. place .. ARGV[1])
  else
    result = result + 8
  end
end
if moves then
  local counters = { unpack(ARGV, 21) }
  if ARGV[19] ~= '' and first then
    local step = math.floor(4 * math.log(math.max(tonumber(ms) - tonumber(first, 16), 1)) / math.log(2))
    table.insert(counters, ARGV[19] .. ' ' .. string.format('%d', step))
  end
  for _, counter in ipairs(counters) do
    -- The first of its kind may have made the hash.
    if redis.call('HINCRBY', KEYS[6], counter, 1) == 1 then
      redis.call('PEXPIREAT', KEYS[6], ARGV[17])
    end
    if redis.call('HINCRBY', KEYS[7], counter, 1) == 1 then
      redis.call('PEXPIREAT', KEYS[7], ARGV[18])
    end
  end
end
return result
