-- Takes a job out of its flow: its parent does not wait for it any more.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id
-- Returns 1; 0 no parent that exists waits for it; -1 no such job.
local job = P .. ARGV[1]
if call('EXISTS', job) == 0 then
  return -1
end
if not lib.family.detach(job, call('HGET', job, 'parentKey'), false) then
  return 0
end
call('HDEL', job, 'parentKey', 'parent')
lib.queues.settle()
return 1
