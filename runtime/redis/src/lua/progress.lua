-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] progress (JSON)
-- Returns 0, or -1 when there is no such job.
local job = P .. ARGV[1]
if call('HEXISTS', job, 'name') == 0 then
  return -1
end
local q = lib.queues.open(P)
call('HSET', job, 'progress', ARGV[2])
lib.queues.event(q, 'progress', 'jobId', ARGV[1], 'data', ARGV[2])
lib.queues.trim(q)
return 0
