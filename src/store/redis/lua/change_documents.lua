-- Changes several documents, if each is as it is expected; else none.
--
-- KEYS[1]  string      <prefix>:{<organization>:<partition>}:doc:<kind>:<name>
-- KEYS[2]  sorted set  <prefix>:{<organization>:<partition>}:docs:<kind>          the names of a kind that is listed
-- KEYS[3…] the same two of each further document
--
-- ARGV[1]  how long they are kept, milliseconds; empty for ever
-- ARGV[2]  of the first document: 1 if there must be a text, 0 if there must be none
-- ARGV[3]  the text that has to be there
-- ARGV[4]  1 if there is a text afterwards, 0 if there is none
-- ARGV[5]  the text afterwards
-- ARGV[6]  the name if the kind is listed, else empty
-- ARGV[7…] the same five of each further document
--
-- Returns 1: changed. 0: another text is there, or none; nothing written.
local keep = ARGV[1]
local changes = {}
for number = 1, #KEYS / 2 do
  local document, names = KEYS[2 * number - 1], KEYS[2 * number]
  local expected, before, remains, after, name = unpack(ARGV, 5 * number - 3, 5 * number + 1)
  changes[number] = { document = document, names = names, remains = remains == '1', after = after, name = name }
  local there = redis.call('GET', document)
  if (there and '1' or '0') ~= expected or (there and there ~= before) then
    return 0
  end
end
for _, change in ipairs(changes) do
  if not change.remains then
    redis.call('DEL', change.document)
    redis.call('ZREM', change.names, change.name)
  else
    if keep == '' then
      redis.call('SET', change.document, change.after)
    else
      redis.call('SET', change.document, change.after, 'PX', keep)
    end
    if change.name ~= '' then
      redis.call('ZADD', change.names, 0, change.name)
    end
  end
end
return 1
