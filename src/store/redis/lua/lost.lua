-- Up to where entries of a stream have been taken away. Redis keeps the newest id that XDEL took away, as this service does.
-- What somebody else took away with XTRIM shows only in the number of entries: when more are gone than were counted, all
-- before the first entry that is left count as taken away. That is noted, since what comes later is not gone.
--
-- KEYS
--   stream   stream  <prefix>:{<organization>:<partition>}:<stream>
--   trimmed  hash    <prefix>:{<organization>:<partition>}:trimmed   `<stream>:own` -> entries that the service took away,
--                    `<stream>:others` and `<stream>:up_to` -> how many others did, and up to which id
--
-- ARGV
--   name  the name of the stream, as in `trimmed`
--
-- Returns nothing if the stream is not there. Otherwise three ids: the newest that XDEL took away; up to which others have
-- trimmed, 0-0 for never; and the first that is left, empty for none.
local stream, trimmed = unpack(KEYS)
local name = unpack(ARGV)

-- The id before another.
local function before(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  if seq ~= '0' then
    return string.format('%s-%.0f', ms, tonumber(seq) - 1)
  end
  return string.format('%.0f-18446744073709551615', tonumber(ms) - 1)
end

if redis.call('EXISTS', stream) == 0 then
  return {}
end
local answer, known = redis.call('XINFO', 'STREAM', stream), {}
for place = 1, #answer, 2 do
  known[answer[place]] = answer[place + 1]
end
local first = known['first-entry'] and known['first-entry'][1] or ''
local noted = redis.call('HMGET', trimmed, name .. ':own', name .. ':others', name .. ':up_to')
local own, others, up_to = tonumber(noted[1] or 0), tonumber(noted[2] or 0), noted[3] or '0-0'
-- A server that does not count what was added tells nothing of others.
local gone = (known['entries-added'] or known['length']) - known['length'] - own
if gone ~= others then
  if gone > others then
    up_to = first == '' and known['last-generated-id'] or before(first)
  end
  -- With its memory full, Redis refuses the note, and the next look finds the same.
  redis.pcall('HSET', trimmed, name .. ':others', gone, name .. ':up_to', up_to)
end
return { known['max-deleted-entry-id'] or '0-0', up_to, first }
