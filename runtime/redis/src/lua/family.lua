-- Module: parents and children of flows, and taking a job out of the store.
-- A job's key is `<prefix>:<queue>:<id>`.
local M = {}

-- The queue's prefix and the id in a key: what stands before and after the last colon, except that jobs which schedulers
-- made have colons in their ids.
local function split(key)
  local prefix, id = string.match(key, '^(.*:)(repeat:[^:]+:%d+)$')
  if prefix then
    return prefix, id
  end
  return string.match(key, '^(.*:)([^:]*)$')
end

local function decode(json)
  local ok, value = pcall(cjson.decode, json or '')
  if ok and type(value) == 'table' then
    return value
  end
  return {}
end

-- The same of a parent, by what its child says of it (JSON), where that is this parent.
function M.place(parent, json)
  local said = decode(json)
  local queue, id = said.queueKey, said.id
  if type(queue) == 'string' and (type(id) == 'string' or type(id) == 'number') and queue .. ':' .. id == parent then
    return queue .. ':', tostring(id)
  end
  return split(parent)
end

-- The parent's turn has come: it leaves its set for the place its own options say.
local function start(key, now, prefix, id)
  local q = lib.queues.open(prefix)
  local fields = call('HMGET', key, 'priority', 'delay')
  local priority, delay = tonumber(fields[1]) or 0, tonumber(fields[2]) or 0
  if delay > 0 then
    local due = now + delay
    call('ZADD', prefix .. 'delayed', due * 4096, id)
    q.delayed = true
    lib.queues.event(q, 'delayed', 'jobId', id, 'delay', string.format('%.0f', due))
    return
  end
  lib.queues.place(q, id, priority, priority == 0)
  lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
end

local function release(key, now, prefix, id)
  if call('EXISTS', key) == 1 and call('ZREM', prefix .. 'waiting-children', id) == 1 then
    start(key, now, prefix, id)
  end
end

-- A parent that waits for nothing any more leaves its set.
function M.release_if_done(key, now, prefix, id)
  if call('SCARD', key .. ':dependencies') == 0 then
    release(key, now, prefix, id)
  end
end

function M.child_completed(parent, child, value, now)
  if call('SREM', parent .. ':dependencies', child) == 0 then
    return
  end
  call('HSET', parent .. ':processed', child, value)
  if call('SCARD', parent .. ':dependencies') == 0 then
    release(parent, now, M.place(parent, call('HGET', child, 'parent')))
  end
end

-- Whether a job is another one or below it. `parents` names parents that are not written yet, false for none. What is
-- further below than any sane tree goes counts as a circle.
function M.below(job, other, parents)
  for _ = 1, 1000 do
    if job == other then
      return true
    end
    local parent = parents and parents[job]
    if parent == nil then
      parent = call('HGET', job, 'parentKey')
    end
    if not parent or parent == '' then
      return false
    end
    job = parent
  end
  return true
end

-- The id of job `j` is taken: the job that is there joins the parent that this one names. `held`: more children of that
-- parent are about to come, so that it stays where it is.
-- Returns 1; or -7 when the job has another parent, which exists, -12 when the parent is below it.
function M.adopt(q, j, now, held)
  local key = q.prefix .. j.id
  if j.parent then
    local stored = call('HGET', key, 'parentKey')
    if stored and stored ~= j.parent and call('EXISTS', stored) == 1 then
      return -7
    end
    if M.below(j.parent, key) then
      return -12
    end
    if call('ZSCORE', q.prefix .. 'completed', j.id) then
      call('HSET', j.parent .. ':processed', key, call('HGET', key, 'returnvalue') or 'null')
      if not held then
        M.release_if_done(j.parent, now, M.place(j.parent, j.parent_json))
      end
    else
      call('SADD', j.parent .. ':dependencies', key)
    end
    call('HSET', key, 'parentKey', j.parent, 'parent', j.parent_json)
  end
  lib.queues.event(q, 'duplicated', 'jobId', j.id)
  return 1
end

-- What the child asked to happen to its parent. Old producers say so only in the child's options.
local function policy(fields)
  for _, json in ipairs({ fields[1] or '', fields[2] or '' }) do
    local said = decode(json)
    for _, name in ipairs({ 'fpof', 'cpof', 'idof', 'rdof' }) do
      if said[name] and said[name] ~= cjson.null then
        return name
      end
    end
  end
end

local function fail_parent(parent, child, now, prefix, id)
  call('ZADD', parent .. ':unsuccessful', now, child)
  if call('EXISTS', parent) == 0 or call('ZSCORE', prefix .. 'failed', id) then
    return
  end
  call('HSET', parent, 'defa', 'child ' .. child .. ' failed')
  if call('ZREM', prefix .. 'waiting-children', id) == 1 then
    start(parent, now, prefix, id)
  elseif call('ZREM', prefix .. 'delayed', id) == 1 then
    call('HSET', parent, 'delay', 0)
    start(parent, now, prefix, id)
  end
end

-- Without a policy the parent goes on waiting for this child.
function M.child_failed(parent, child, reason, now)
  local fields = call('HMGET', child, 'parent', 'opts')
  local said = policy(fields)
  if not said or call('SREM', parent .. ':dependencies', child) == 0 then
    return
  end
  local prefix, id = M.place(parent, fields[1])
  if said == 'fpof' then
    fail_parent(parent, child, now, prefix, id)
    return
  end
  if said ~= 'rdof' then
    call('HSET', parent .. ':failed', child, reason)
  end
  if said == 'cpof' then
    release(parent, now, prefix, id)
  else
    M.release_if_done(parent, now, prefix, id)
  end
end

-- Removes a job's keys except its lock. Returns how many there were.
function M.drop(job)
  return call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed',
    job .. ':unsuccessful')
end

-- A deduplication id is free again when the job that owns it goes away.
function M.disown(prefix, id, deid)
  if not deid then
    return
  end
  local key = prefix .. 'de:' .. deid
  if call('GET', key) == id then
    call('DEL', key, prefix .. 'dn:' .. deid)
  end
end

-- A job goes away: its parent no longer waits for it. `hard` takes a parent of the same queue along that waited for
-- nothing else. Must come before the job's keys go. Returns whether the parent waited for it.
function M.detach(job, parent, hard)
  if not parent or parent == '' or call('EXISTS', parent) == 0 then
    return false
  end
  local deps = parent .. ':dependencies'
  if call('SREM', deps, job) == 0 then
    return false
  end
  if call('SCARD', deps) > 0 then
    return true
  end
  local prefix, id = M.place(parent, call('HGET', job, 'parent'))
  if call('ZREM', prefix .. 'waiting-children', id) == 0 then
    return true
  end
  if hard and prefix == P then
    local fields = call('HMGET', parent, 'parentKey', 'deid')
    M.detach(parent, fields[1], true)
    M.drop(parent)
    M.disown(prefix, id, fields[2])
    return true
  end
  local q = lib.queues.open(prefix)
  lib.queues.place(q, id, 0, true)
  if not hard then
    lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
  return true
end

-- True for the one pending run of a scheduler that still exists; such a job goes only with its scheduler.
function M.scheduled(prefix, id, rjk)
  if not rjk then
    return false
  end
  local slot = call('ZSCORE', prefix .. 'repeat', rjk)
  return slot and id == 'repeat:' .. rjk .. ':' .. string.format('%.0f', tonumber(slot))
end

-- A finished job of this state runs again: its parent waits for it again.
function M.rejoin(job, state)
  local parent = call('HGET', job, 'parentKey')
  if not parent or call('EXISTS', parent) == 0 then
    return
  end
  local left
  if state == 'completed' then
    left = call('HDEL', parent .. ':processed', job)
  else
    left = call('ZREM', parent .. ':unsuccessful', job)
    if left == 0 then
      left = call('HDEL', parent .. ':failed', job)
    end
  end
  if left == 1 then
    call('SADD', parent .. ':dependencies', job)
  end
end

M.split = split
return M
