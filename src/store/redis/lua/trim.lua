-- Takes away the oldest entries of a stream, and what is kept beside them.
--
-- KEYS
--   stream     stream  <prefix>:{<organization>:<partition>}:<stream>
--   raw        hash    <prefix>:{<organization>:<partition>}:raw             deliveries entry -> unknown parameters
--   received…  string  <prefix>:{<organization>:<partition>}:received:<sid>  what a message received was answered
--
-- ARGV
--   first     the id of the first entry that stays
--   entries…  the ids of the deliveries entries that go
--
-- Returns how many entries were taken away.
local stream, raw = unpack(KEYS)
local first = unpack(ARGV)
local received, entries = { unpack(KEYS, 3) }, { unpack(ARGV, 2) }

if #received > 0 then
  redis.call('DEL', unpack(received))
end
if #entries > 0 then
  redis.call('HDEL', raw, unpack(entries))
end
return redis.call('XTRIM', stream, 'MINID', first)
