-- Puts one text in the place of another.
--
-- KEYS[1]  string      <prefix>:{<organization>:<partition>}:doc:<kind>:<name>
-- KEYS[2]  sorted set  <prefix>:{<organization>:<partition>}:docs:<kind>    every name of a kind that is listed
--
-- ARGV[1]  1 if there has to be a text, 0 if there must be none
-- ARGV[2]  the text that has to be there
-- ARGV[3]  1 if there is a text afterwards, 0 if there is none
-- ARGV[4]  the text afterwards
-- ARGV[5]  how long it is kept, milliseconds; empty for ever
-- ARGV[6]  the name if the kind is listed, else empty
--
-- Returns 1: changed. 0: another text is there, or none; nothing written.
local there = redis.call('GET', KEYS[1])
if (there and '1' or '0') ~= ARGV[1] or (there and there ~= ARGV[2]) then
  return 0
end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
  redis.call('ZREM', KEYS[2], ARGV[6])
  return 1
end
if ARGV[5] == '' then
  redis.call('SET', KEYS[1], ARGV[4])
else
  redis.call('SET', KEYS[1], ARGV[4], 'PX', ARGV[5])
end
if ARGV[6] ~= '' then
  redis.call('ZADD', KEYS[2], 0, ARGV[6])
end
return 1
