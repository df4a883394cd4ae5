-- Adds an entry to the audit, once for each call.
--
-- KEYS
--   audit  stream  <prefix>:{<organization>:<partition>}:audit          who did what
--   call   string  <prefix>:{<organization>:<partition>}:call:<random>  there once the call has done its work
--
-- ARGV
--   entry  the entry
--   known  how long it is known that the call has done its work, milliseconds
--
-- Returns 1: added. 0: it was before, by the same call.
local audit, call = unpack(KEYS)
local entry, known = unpack(ARGV)

if redis.call('EXISTS', call) == 1 then
  return 0
end
redis.call('XADD', audit, '*', 'entry', entry)
redis.call('SET', call, 1, 'PX', known)
return 1
