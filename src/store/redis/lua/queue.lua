-- What every script does that changes the queue of a flow. It is put before their sources.

-- Notes when the first message of `queue` is to be looked at: in `urgent` for an urgent flow, else in `due`. A flow
-- without messages is in neither.
local function note_first(queue, due, urgent, flow)
  local noted = string.sub(flow, 1, 1) == '!' and urgent or due
  local first = redis.call('ZRANGE', queue, 0, 0, 'WITHSCORES')
  if first[2] then
    redis.call('ZADD', noted, first[2], flow)
  else
    redis.call('ZREM', noted, flow)
  end
end

-- Takes the message `id`, whose hash is `message`, out of `queue`, and its size out of what `queued` counts.
local function leave(queue, queued, message, id)
  if redis.call('ZREM', queue, id) == 0 then
    return
  end
  -- A message of a version that did not count has no size.
  local room = tonumber(redis.call('HGET', message, 'bytes') or 0)
  -- Not below zero: that version may have put it there.
  for field, amount in pairs({ messages = 1, bytes = room }) do
    local left = tonumber(redis.call('HGET', queued, field) or 0) - amount
    redis.call('HSET', queued, field, math.max(left, 0))
  end
end

-- Forgets what is counted once nothing is queued: a version that did not count may have left messages out of it.
local function forget_counts(queued, due, urgent)
  if redis.call('EXISTS', due, urgent) == 0 then
    redis.call('DEL', queued)
  end
end

