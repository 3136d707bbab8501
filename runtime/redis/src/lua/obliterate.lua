-- Removes a part of a paused queue: its jobs first, then its schedulers, then, when it is told that nothing else is left,
-- the queue's own keys. What says that it is paused goes last, so that what is broken off can go on.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  '1' = also when jobs are active; [2] how many jobs to remove at most; [3] '1' = the own keys, too
-- Returns 1 when there is more; 0 when nothing is left; -1 not paused; -2 jobs are active.
if call('HEXISTS', KEYS[1], 'paused') == 0 then
  return -1
end
if ARGV[1] ~= '1' and call('LLEN', P .. 'active') > 0 then
  return -2
end
local left, last = tonumber(ARGV[2]), ARGV[3] == '1'

local function remove(id)
  local job = P .. id
  local f = redis.pcall('HMGET', job, 'parentKey', 'deid')
  -- A key of another type goes as well.
  if not f.err then
    lib.family.detach(job, f[1], true)
    lib.family.disown(P, id, f[2])
  end
  lib.family.drop(job)
  call('DEL', job .. ':lock')
end

-- True when nothing is left of the jobs and schedulers.
local function clear()
  for _, list in ipairs({ 'active', 'wait', 'paused' }) do
    local ids = call('LRANGE', P .. list, 0, left - 1)
    if #ids > 0 then
      call('LTRIM', P .. list, #ids, -1)
      for _, id in ipairs(ids) do
        remove(id)
      end
      left = left - #ids
    end
    if left <= 0 then
      return false
    end
  end
  for _, set in ipairs({ 'delayed', 'prioritized', 'completed', 'failed', 'waiting-children' }) do
    local ids = call('ZRANGE', P .. set, 0, left - 1)
    if #ids > 0 then
      call('ZREM', P .. set, unpack(ids))
      for _, id in ipairs(ids) do
        remove(id)
      end
      left = left - #ids
    end
    if left <= 0 then
      return false
    end
  end
  local schedulers = call('ZRANGE', P .. 'repeat', 0, left - 1)
  for _, id in ipairs(schedulers) do
    call('ZREM', P .. 'repeat', id)
    call('DEL', P .. 'repeat:' .. id)
  end
  return #schedulers < left
end

local cleared = clear()
-- A child that went may have put its parent, in another queue, among the waiting ones there.
if rawget(lib, 'queues') then
  lib.queues.settle()
end
if not cleared then
  return 1
end
if last then
  call('DEL', P .. 'events', P .. 'id', P .. 'pc', P .. 'marker', P .. 'limiter', P .. 'stalled',
    P .. 'stalled-check', P .. 'delay', P .. 'priority', P .. 'metrics:completed', P .. 'metrics:completed:data',
    P .. 'metrics:failed', P .. 'metrics:failed:data', P .. 'jobcell:cancel', KEYS[1])
end
return 0
