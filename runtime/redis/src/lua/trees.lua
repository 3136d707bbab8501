-- Module: takes jobs out of the store whatever their state, alone or with what is below them.
local M = {}

-- Jobs that one call removes at most, and levels it goes down: Redis is held for about 20 µs a job.
local JOBS_MAX, DEPTH_MAX = 50000, 500

local function each_child(job, what)
  local groups = { call('SMEMBERS', job .. ':dependencies') }
  if what == 'all' then
    groups = {
      call('HKEYS', job .. ':processed'), call('HKEYS', job .. ':failed'), call('ZRANGE', job .. ':unsuccessful', 0, -1),
      groups[1],
    }
  end
  local found, n = {}, 0
  for _, keys in ipairs(groups) do
    for _, key in ipairs(keys) do
      n = n + 1
      found[n] = key
    end
  end
  return found
end

-- Looks at a job and all that is below it: 'locked' when one of them runs, 'large' when they are too many.
function M.look(job)
  local seen, level, count = { [job] = true }, { job }, 1
  for _ = 1, DEPTH_MAX do
    local next, n = {}, 0
    for _, key in ipairs(level) do
      if call('EXISTS', key .. ':lock') == 1 then
        return 'locked'
      end
      for _, child in ipairs(each_child(key, 'all')) do
        if not seen[child] then
          seen[child] = true
          n = n + 1
          next[n] = child
        end
      end
    end
    count = count + n
    if count > JOBS_MAX then
      return 'large'
    elseif n == 0 then
      return 'free'
    end
    level = next
  end
  return 'large'
end

local function take_out(prefix, id)
  for _, set in ipairs({ 'completed', 'waiting-children', 'delayed', 'failed', 'prioritized' }) do
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

local function erase(job, prefix, id)
  local deid = call('HGET', job, 'deid')
  local state = take_out(prefix, id)
  lib.family.disown(prefix, id, deid)
  if lib.family.drop(job) == 0 then
    return false
  end
  local q = lib.queues.open(prefix)
  lib.queues.trim(q)
  lib.queues.event(q, 'removed', 'jobId', id, 'prev', state)
  return true
end

-- Removes a job; with `seen`, a table of jobs that are dealt with, also all that is below it. `parent` is the one above
-- that it is reached from.
function M.remove(prefix, id, parent, seen)
  local job = prefix .. id
  local stored = call('HGET', job, 'parentKey')
  if parent then
    lib.family.detach(job, parent, false)
  end
  if stored and stored ~= parent then
    lib.family.detach(job, stored, false)
  end
  if seen then
    seen[job] = true
    for _, child in ipairs(each_child(job, 'all')) do
      if not seen[child] then
        local there, name = lib.family.split(child)
        M.remove(there, name, job, seen)
      end
    end
  end
  return erase(job, prefix, id)
end

-- Removes what is below a job and has neither finished nor runs, at most `left` of them. Returns how many went, and
-- whether there may be more.
function M.prune(job, left, seen, depth)
  local gone = 0
  for _, child in ipairs(each_child(job, 'pending')) do
    local prefix, id = lib.family.split(child)
    if not seen[child] and depth < DEPTH_MAX and call('EXISTS', child .. ':lock') == 0
      and not call('ZSCORE', prefix .. 'failed', id) then
      seen[child] = true
      local below, more = M.prune(child, left - gone, seen, depth + 1)
      gone = gone + below
      if more or gone >= left then
        return gone, true
      end
      lib.family.detach(child, job, false)
      if erase(child, prefix, id) then
        gone = gone + 1
      end
    end
  end
  return gone, false
end

return M
