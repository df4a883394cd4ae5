-- Takes away the oldest entries of a stream, and what is kept beside them. One by one, since the stream then keeps the newest id of
-- those that were taken away, which XTRIM does not note.
--
-- KEYS
--   stream     stream  <prefix>:{<organization>:<partition>}:<stream>
--   raw        hash    <prefix>:{<organization>:<partition>}:raw             deliveries entry -> unknown parameters
--   received…  string  <prefix>:{<organization>:<partition>}:received:<sid>  what a message received was answered
--
-- ARGV
--   has_raw   1 if unknown parameters go with the entries, 0 if the stream has none
--   entries…  the ids of the entries
--
-- Returns how many entries were taken away.
local stream, raw = unpack(KEYS)
local has_raw = unpack(ARGV)
local received, entries = { unpack(KEYS, 3) }, { unpack(ARGV, 2) }

if #received > 0 then
  redis.call('DEL', unpack(received))
end
if has_raw == '1' then
  redis.call('HDEL', raw, unpack(entries))
end
return redis.call('XDEL', stream, unpack(entries))
