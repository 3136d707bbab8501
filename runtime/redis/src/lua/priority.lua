-- Gives a job another priority; where it waits it moves to where that puts it.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] the priority; [3] '1' = before the others that have it
-- Returns 0; -1 no such job.
local id, priority = ARGV[1], tonumber(ARGV[2])
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
-- While a queue is paused its jobs may be in either list, or split over both.
if call('ZREM', P .. 'prioritized', id) > 0 or call('LREM', P .. 'wait', -1, id) > 0
  or call('LREM', P .. 'paused', -1, id) > 0 then
  lib.queues.place(lib.queues.open(P), id, priority, ARGV[3] == '1')
end
call('HSET', job, 'priority', ARGV[2])
lib.queues.settle()
return 0
