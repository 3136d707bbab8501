-- Removes a part of what is below a job and has neither finished nor runs.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] how many to remove at most
-- Returns how many went, 1 when there may be more; -1, 0 no such job.
local job = P .. ARGV[1]
if call('EXISTS', job) == 0 then
  return { -1, 0 }
end
local gone, more = lib.trees.prune(job, tonumber(ARGV[2]), { [job] = true }, 1)
lib.queues.settle()
return { gone, more and 1 or 0 }
