-- Takes away entries of a stream, and what is kept beside them. One by one, since the stream then keeps the newest id of those that
-- were taken away, which XTRIM does not note; and counts them, so that what others trim can be told from it (`lost`).
--
-- KEYS
--   stream     stream  <prefix>:{<organization>:<partition>}:<stream>
--   raw        hash    <prefix>:{<organization>:<partition>}:raw             deliveries entry -> unknown parameters
--   trimmed    hash    <prefix>:{<organization>:<partition>}:trimmed         `<stream>:own` -> entries that were taken away
--   received…  string  <prefix>:{<organization>:<partition>}:received:<sid>  what a message received was answered
--
-- ARGV
--   name      the name of the stream, as in `trimmed`
--   has_raw   1 if unknown parameters go with the entries, 0 if the stream has none
--   entries…  the ids of the entries
--
-- Returns how many entries were taken away.
local stream, raw, trimmed = unpack(KEYS)
local name, has_raw = unpack(ARGV)
local received, entries = { unpack(KEYS, 4) }, { unpack(ARGV, 3) }

if #received > 0 then
  redis.call('DEL', unpack(received))
end
if has_raw == '1' then
  redis.call('HDEL', raw, unpack(entries))
end
local taken = redis.call('XDEL', stream, unpack(entries))
redis.call('HINCRBY', trimmed, name .. ':own', taken)
return taken
