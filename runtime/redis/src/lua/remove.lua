-- Removes a job with its children.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id
-- Returns 1; 0 when it or a pending descendant is locked; -1 no such job; -8 it is the pending run of a scheduler.
local function locked(job)
  if call('EXISTS', job .. ':lock') == 1 then
    return true
  end
  for _, child in ipairs(call('SMEMBERS', job .. ':dependencies')) do
    if locked(child) then
      return true
    end
  end
  return false
end

local function children(job)
  local found = {}
  local groups = {
    call('SMEMBERS', job .. ':dependencies'), call('HKEYS', job .. ':processed'), call('HKEYS', job .. ':failed'),
    call('ZRANGE', job .. ':unsuccessful', 0, -1),
  }
  for _, keys in ipairs(groups) do
    for _, key in ipairs(keys) do
      found[key] = true
    end
  end
  return found
end

local function take_out(prefix, id)
  for _, set in ipairs({ 'completed', 'failed', 'delayed', 'prioritized', 'waiting-children' }) do
    if call('ZREM', prefix .. set, id) == 1 then
      return set
    end
  end
  for _, list in ipairs({ 'wait', 'paused', 'active' }) do
    if call('LREM', prefix .. list, 0, id) > 0 then
      return list
    end
  end
  return 'unknown'
end

local function remove(prefix, id)
  local job = prefix .. id
  if call('EXISTS', job) == 0 then
    return
  end
  local fields = call('HMGET', job, 'parentKey', 'deid')
  local with = children(job)
  local state = take_out(prefix, id)
  lib.family.detach(job, fields[1], false)
  lib.family.drop(job)
  lib.family.disown(prefix, id, fields[2])
  lib.queues.event(lib.queues.open(prefix), 'removed', 'jobId', id, 'prev', state)
  for child in pairs(with) do
    remove(lib.family.split(child))
  end
end

local id = ARGV[1]
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
if lib.family.scheduled(P, id, call('HGET', job, 'rjk')) then
  return -8
end
if locked(job) then
  return 0
end
remove(P, id)
lib.queues.trim(lib.queues.open(P))
lib.queues.settle()
return 1
