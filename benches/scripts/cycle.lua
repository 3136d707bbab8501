-- The bound: what a queue's cycle must do in Redis at the least, and nothing else. Finishes one job and claims the
-- next in one call, with the effects that BullMQ's readers rely on.
-- KEYS[1] prefix of the queue with its last colon
-- ARGV[1] token · ARGV[2] now, ms · ARGV[3] id to finish or '' · ARGV[4] its result
-- Returns {id, name, data} of the next job, or nothing.
local p, token, now, done = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
if done ~= '' then
  local lock = p .. done .. ':lock'
  if redis.call('GET', lock) ~= token then return redis.error_reply('lock lost') end
  redis.call('DEL', lock)
  redis.call('LREM', p .. 'active', -1, done)
  redis.call('HSET', p .. done, 'returnvalue', ARGV[4], 'finishedOn', now, 'atm', 1)
  redis.call('ZADD', p .. 'completed', now, done)
  redis.call('XADD', p .. 'events', 'MAXLEN', '~', 10000, '*', 'event', 'completed', 'jobId', done,
    'returnvalue', ARGV[4], 'prev', 'active')
end
local id = redis.call('RPOPLPUSH', p .. 'wait', p .. 'active')
if not id then return false end
redis.call('SET', p .. id .. ':lock', token, 'PX', 30000)
redis.call('XADD', p .. 'events', '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
redis.call('HSET', p .. id, 'processedOn', now, 'ats', 1)
redis.call('ZADD', p .. 'marker', 0, '0')
local job = redis.call('HMGET', p .. id, 'name', 'data')
return {id, job[1], job[2]}
