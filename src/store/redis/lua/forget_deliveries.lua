-- Takes away what Twilio told of messages: where they stand, and their entries.
--
-- KEYS, the last for each message
--   deliveries  stream      <prefix>:{<organization>:<partition>}:deliveries
--   raw         hash        <prefix>:{<organization>:<partition>}:raw         entry -> unknown parameters
--   tasks       sorted set  <prefix>:{<organization>:<partition>}:tasks       task -> when it is due
--   trimmed     hash        <prefix>:{<organization>:<partition>}:trimmed     `deliveries:own` -> entries that were taken away
--   messages…   hash        <prefix>:{<organization>:<partition>}:msg:<xyz>   message SID -> record (record.rs)
--
-- ARGV, the last for each message
--   heard_before  only messages of which nothing was recorded at this time or later, and for which nobody is going to ask Twilio;
--                 milliseconds since 1970, empty for all
--   sids…         the message's SID
--
-- Returns how many entries were taken away of each message, -1 if it stays.
local deliveries, raw, tasks, trimmed = unpack(KEYS)
local heard_before = unpack(ARGV)
local messages, sids = { unpack(KEYS, 5) }, { unpack(ARGV, 2) }
local border = tonumber(heard_before)

-- The ids of the entries in a record, the task to ask for its message, and when the last of them was added.
local function read(sid, record)
  local seen = string.match(record, '^%d+;[^;]*;[^;]*;(.*)$')
  local since = seen and string.match(seen, '@(%x+)')
  if not since then
    return nil
  end
  local entries, heard = {}, 0
  for behind, seq in string.gmatch(seen, '@(%x+)%-?(%x*);') do
    local ms = tonumber(behind, 16) + (entries[1] and tonumber(since, 16) or 0)
    heard = math.max(heard, ms)
    table.insert(entries, string.format('%.0f-%.0f', ms, tonumber(seq == '' and '0' or seq, 16)))
  end
  return entries, sid .. '@' .. since, heard
end

local taken = {}
for number, sid in ipairs(sids) do
  local record = redis.call('HGET', messages[number], sid)
  taken[number] = 0
  if record then
    local entries, ask, heard = read(sid, record)
    local stays = not entries
      or border and (heard >= border or redis.call('ZSCORE', tasks, ask))
    if stays then
      taken[number] = -1
    else
      redis.call('HDEL', raw, unpack(entries))
      taken[number] = redis.call('XDEL', deliveries, unpack(entries))
      redis.call('HINCRBY', trimmed, 'deliveries:own', taken[number])
      redis.call('ZREM', tasks, ask)
      redis.call('HDEL', messages[number], sid)
    end
  end
end
return taken
