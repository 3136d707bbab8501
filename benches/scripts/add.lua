-- Adds jobs the way BullMQ's standard add does: hash, event, wait list, marker.
-- KEYS[1] prefix of the queue with its last colon
-- ARGV[1] how many · ARGV[2] now, ms · ARGV[3] name · ARGV[4] payload, where @ stands for the job's number
-- Returns the last id.
local p = KEYS[1]
local last
for _ = 1, tonumber(ARGV[1]) do
  local id = redis.call('INCR', p .. 'id')
  local data = string.gsub(ARGV[4], '@', id)
  redis.call('HSET', p .. id, 'name', ARGV[3], 'data', data, 'opts', '{"attempts":0}', 'timestamp', ARGV[2],
    'delay', 0, 'priority', 0)
  redis.call('XADD', p .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'added', 'jobId', id, 'name', ARGV[3])
  redis.call('LPUSH', p .. 'wait', id)
  if redis.call('HEXISTS', p .. 'meta', 'paused') == 0 then redis.call('ZADD', p .. 'marker', 0, '0') end
  redis.call('XADD', p .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'waiting', 'jobId', id)
  last = tostring(id)
end
return last
