-- Module: makes a job.
local M = {}

-- `j`: id, name, data, opts, timestamp, delay, priority, lifo, waits (for children); parent and parent_json, rjk, deid
-- where there are any; `alone` when the parent is not there any more.
function M.store(q, j)
  local key = q.prefix .. j.id
  local fields = {
    'name', j.name, 'data', j.data, 'opts', j.opts,
    'timestamp', j.timestamp, 'delay', j.delay, 'priority', j.priority,
  }
  local n = #fields
  if j.parent then
    fields[n + 1], fields[n + 2], fields[n + 3], fields[n + 4] = 'parentKey', j.parent, 'parent', j.parent_json
    n = n + 4
  end
  if j.rjk then
    fields[n + 1], fields[n + 2] = 'rjk', j.rjk
    n = n + 2
  end
  if j.deid then
    fields[n + 1], fields[n + 2] = 'deid', j.deid
  end
  call('HSET', key, unpack(fields))
  lib.queues.event(q, 'added', 'jobId', j.id, 'name', j.name)
  local delay = tonumber(j.delay)
  if j.waits then
    call('ZADD', q.prefix .. 'waiting-children', j.timestamp, j.id)
    lib.queues.event(q, 'waiting-children', 'jobId', j.id)
  elseif delay > 0 then
    lib.queues.delay(q, j.id, tonumber(j.timestamp) + delay)
  else
    local priority = tonumber(j.priority)
    lib.queues.place(q, j.id, priority, priority == 0 and j.lifo)
    lib.queues.event(q, 'waiting', 'jobId', j.id)
  end
  if j.parent and not j.alone then
    call('SADD', j.parent .. ':dependencies', key)
  end
end

return M
