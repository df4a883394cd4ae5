-- Stores a new message, or takes one from one state to another; with a gate, if it passes that.
--
-- KEYS[1]  hash        <prefix>:{<organization>:<partition>}:out:<id>
-- KEYS[2]  sorted set  <prefix>:{<organization>:<partition>}:queue:<flow>       message id -> when to look at it
-- KEYS[3]  string      <prefix>:{<organization>:<partition>}:consent:<person>
-- KEYS[4]  string      <prefix>:{<organization>:<partition>}:last:<person>      when the person was last sent to
-- KEYS[5]  set         <prefix>:{<organization>:<partition>}:flows              every flow in which a message is queued
-- KEYS[6]  stream      <prefix>:{<organization>:<partition>}:history
-- KEYS[7]  sorted set  <prefix>:{<organization>:<partition>}:history:<xyz>      recipient, place and message
--
-- ARGV[1]  the state that it is decided on, empty for a new message
-- ARGV[2]  the state afterwards
-- ARGV[3]  its rank
-- ARGV[4]  1 if nothing is left to be done in it, 0 if something is
-- ARGV[5]  the message's id
-- ARGV[6]  when to look at it next, milliseconds since 1970; empty for never
-- ARGV[7]  the recipient's consent that it was decided on, empty if none was stored
-- ARGV[8]  now, milliseconds since 1970; empty if there is no gate
-- ARGV[9]  the least time between two messages to the recipient, milliseconds
-- ARGV[10] a new message: what was asked for
-- ARGV[11] a new message: what Twilio is to be given, sealed; empty if its batch holds that
-- ARGV[12] its flow
-- ARGV[13] the recipient, as the history of recipients names it
--
-- Returns 1: stored. 0: the state is another, or the id is taken. -1: consent is another. Anything greater than 1: until
-- when the recipient is not to be sent to. Nothing is written but in the first case.
if (redis.call('HGET', KEYS[1], 'state') or '') ~= ARGV[1] then
  return 0
end
if ARGV[8] ~= '' then
  if (redis.call('GET', KEYS[3]) or '') ~= ARGV[7] then
    return -1
  end
  if ARGV[9] ~= '0' then
    local last = redis.call('GET', KEYS[4])
    if last and tonumber(last) + tonumber(ARGV[9]) > tonumber(ARGV[8]) then
      return tonumber(last) + tonumber(ARGV[9])
    end
    redis.call('SET', KEYS[4], ARGV[8], 'PX', ARGV[9])
  end
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'rank', ARGV[3])
if ARGV[1] == '' then
  redis.call('HSET', KEYS[1], 'outbound', ARGV[10])
  if ARGV[11] ~= '' and ARGV[4] == '0' then
    redis.call('HSET', KEYS[1], 'content', ARGV[11])
  end
  local ms, seq = string.match(redis.call('XADD', KEYS[6], '*', 'm', ARGV[5]), '^(%d+)%-(%d+)$')
  local place = string.format('%011x%05x:', tonumber(ms), tonumber(seq))
  redis.call('ZADD', KEYS[7], 0, ARGV[13] .. ':' .. place .. ARGV[5])
elseif ARGV[4] == '1' then
  redis.call('HDEL', KEYS[1], 'content')
end
if ARGV[6] == '' then
  redis.call('ZREM', KEYS[2], ARGV[5])
  if redis.call('EXISTS', KEYS[2]) == 0 then
    redis.call('SREM', KEYS[5], ARGV[12])
  end
else
  redis.call('ZADD', KEYS[2], ARGV[6], ARGV[5])
  redis.call('SADD', KEYS[5], ARGV[12])
end
return 1
