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
local fields = call('HMGET', job, 'priority', 'parentKey')
lib.queues.place(q, id, tonumber(fields[1]) or 0, false)
local parent = fields[2]
if parent and call('EXISTS', parent) == 1 then
  local back
  if state == 'completed' then
    back = call('HDEL', parent .. ':processed', job)
  else
    back = call('ZREM', parent .. ':unsuccessful', job)
    if back == 0 then
      back = call('HDEL', parent .. ':failed', job)
    end
  end
  if back == 1 then
    call('SADD', parent .. ':dependencies', job)
  end
end
lib.queues.event(q, 'waiting', 'jobId', id, 'prev', state)
lib.queues.trim(q)
lib.queues.settle()
return 0
