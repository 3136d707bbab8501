-- Makes a delayed job due now.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id
-- Returns 0; -1 no such job; -3 not delayed.
local id = ARGV[1]
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
if call('ZREM', P .. 'delayed', id) == 0 then
  return -3
end
local q = lib.queues.open(P)
lib.queues.place(q, id, tonumber(call('HGET', job, 'priority')) or 0, false)
lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'delayed')
call('HSET', job, 'delay', 0)
lib.queues.trim(q)
lib.queues.settle()
return 0
