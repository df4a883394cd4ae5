-- Stores a message that is about to be handed to Twilio.
--
-- KEYS[1]  hash    <prefix>:{<organization>:<partition>}:out:<id>
-- KEYS[2]  string  <prefix>:{<organization>:<partition>}:consent:<person>
--
-- ARGV[1]  the recipient's consent that the send was decided on, empty if none was stored
-- ARGV[2]  the message
-- ARGV[3]  its state
-- ARGV[4]  the state's rank
--
-- Returns 1: stored. 0: consent is no longer as in ARGV[1], or the id is taken; nothing written.
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] or redis.call('EXISTS', KEYS[1]) == 1 then
  return 0
end
redis.call('HSET', KEYS[1], 'outbound', ARGV[2], 'state', ARGV[3], 'rank', ARGV[4])
return 1
