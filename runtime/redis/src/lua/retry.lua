-- Puts a finished job back among the waiting ones, and back among the children its parent waits for.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] '1' = with all its attempts again
-- Returns 0; -1 no such job; -3 not finished.
local id = ARGV[1]
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
local state, value
if call('ZREM', P .. 'failed', id) == 1 then
  state, value = 'failed', 'failedReason'
elseif call('ZREM', P .. 'completed', id) == 1 then
  state, value = 'completed', 'returnvalue'
else
  return -3
end
call('HDEL', job, 'finishedOn', 'processedOn', value)
if ARGV[2] == '1' then
  call('HDEL', job, 'atm', 'ats')
end
local q = lib.queues.open(P)
local fields = call('HMGET', job, 'priority', 'opts')
local ok, opts = pcall(cjson.decode, fields[2] or '')
local priority = tonumber(fields[1]) or 0
lib.queues.place(q, id, priority, priority == 0 and ok and type(opts) == 'table' and opts.lifo == true)
lib.family.rejoin(job, state)
lib.queues.event(q, 'waiting', 'jobId', id, 'prev', state)
lib.queues.trim(q)
lib.queues.settle()
return 0
