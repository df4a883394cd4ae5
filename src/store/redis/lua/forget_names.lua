-- Takes the names of documents that have ended out of the list of their kind. One that is there, by now or again, stays.
--
-- KEYS, all but the first for each document
--   names      sorted set  <prefix>:{<organization>:<partition>}:docs:<kind>          the names of a kind that is listed
--   document…  string      <prefix>:{<organization>:<partition>}:doc:<kind>:<name>
--
-- ARGV, for each document
--   name…      its name
--
-- Returns how many were taken out.
local names = unpack(KEYS)
local documents = { unpack(KEYS, 2) }
local taken_out = 0
for number, name in ipairs(ARGV) do
  local document = documents[number]
  if redis.call('EXISTS', document) == 0 then
    taken_out = taken_out + redis.call('ZREM', names, name)
  end
end
return taken_out
