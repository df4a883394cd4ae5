-- Changes several documents, if each is as it is expected; else none.
--
-- KEYS, all but the first for each document
--   audit      stream      <prefix>:{<organization>:<partition>}:audit                who did what
--   document…  string      <prefix>:{<organization>:<partition>}:doc:<kind>:<name>
--   names…     sorted set  <prefix>:{<organization>:<partition>}:docs:<kind>          the names of a kind that is listed
--
-- ARGV, all but the first two for each document
--   keep          how long they are kept, milliseconds; empty for ever
--   audit_entry   the audit's entry of the change, empty for none
--   is_expected…  1 if there must be a text, 0 if there must be none
--   before…       the text that has to be there
--   remains…      1 if there is a text afterwards, 0 if there is none
--   after…        the text afterwards
--   name…         the name if the kind is listed, else empty
--
-- Returns 1: changed. 0: another text is there, or none; nothing written.
local audit = unpack(KEYS)
local keep, audit_entry = unpack(ARGV)
local changes = {}
for number = 1, (#KEYS - 1) / 2 do
  local document, names = unpack(KEYS, 2 * number, 2 * number + 1)
  local is_expected, before, remains, after, name = unpack(ARGV, 5 * number - 2, 5 * number + 2)
  changes[number] = { document = document, names = names, remains = remains == '1', after = after, name = name }
  local there = redis.call('GET', document)
  if (there and '1' or '0') ~= is_expected or (there and there ~= before) then
    return 0
  end
end
-- First, so that nothing is changed if it cannot be added.
if audit_entry ~= '' then
  redis.call('XADD', audit, '*', 'entry', audit_entry)
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
