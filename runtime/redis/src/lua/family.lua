-- Module: parents and children of flows, and taking a job out of the store.
-- A parent's key is `<prefix>:<queue>:<id>`; its queue and id are what stands before and after the last colon.
local M = {}

local function split(key)
  return string.match(key, '^(.*:)([^:]*)$')
end

-- The parent's turn has come: it leaves its set for the place its own options say.
local function start(key, now)
  local prefix, id = split(key)
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

local function release(key, now)
  local prefix, id = split(key)
  if call('EXISTS', key) == 1 and call('ZREM', prefix .. 'waiting-children', id) == 1 then
    start(key, now)
  end
end

local function release_if_done(key, now)
  if call('SCARD', key .. ':dependencies') == 0 then
    release(key, now)
  end
end

-- Books the result of a child that completed before it got this parent.
function M.adopt_result(parent, child, value, now)
  call('HSET', parent .. ':processed', child, value)
  release_if_done(parent, now)
end

function M.child_completed(parent, child, value, now)
  if call('SREM', parent .. ':dependencies', child) == 1 then
    M.adopt_result(parent, child, value, now)
  end
end

local function decode(json)
  local ok, value = pcall(cjson.decode, json or '')
  if ok and type(value) == 'table' then
    return value
  end
  return {}
end

-- What the child asked to happen to its parent. Old producers say so only in the child's options.
local function policy(fields)
  for _, json in ipairs({ fields[1] or '', fields[2] or '' }) do
    local said = decode(json)
    for _, name in ipairs({ 'fpof', 'cpof', 'idof', 'rdof' }) do
      if said[name] == true then
        return name
      end
    end
  end
end

local function fail_parent(parent, child, now)
  call('ZADD', parent .. ':unsuccessful', now, child)
  local prefix, id = split(parent)
  if call('EXISTS', parent) == 0 or call('ZSCORE', prefix .. 'failed', id) then
    return
  end
  call('HSET', parent, 'defa', 'child ' .. child .. ' failed')
  if call('ZREM', prefix .. 'waiting-children', id) == 1 then
    start(parent, now)
  elseif call('ZREM', prefix .. 'delayed', id) == 1 then
    call('HSET', parent, 'delay', 0)
    start(parent, now)
  end
end

-- Without a policy the parent goes on waiting for this child.
function M.child_failed(parent, child, reason, now)
  local said = policy(call('HMGET', child, 'parent', 'opts'))
  if not said or call('SREM', parent .. ':dependencies', child) == 0 then
    return
  end
  if said == 'fpof' then
    fail_parent(parent, child, now)
    return
  end
  if said ~= 'rdof' then
    call('HSET', parent .. ':failed', child, reason)
  end
  if said == 'cpof' then
    release(parent, now)
  else
    release_if_done(parent, now)
  end
end

function M.drop(job)
  call('DEL', job, job .. ':logs', job .. ':dependencies', job .. ':processed', job .. ':failed',
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
-- nothing else.
function M.detach(job, parent, hard)
  if not parent or parent == '' or call('EXISTS', parent) == 0 then
    return
  end
  local deps = parent .. ':dependencies'
  if call('SREM', deps, job) == 0 or call('SCARD', deps) > 0 then
    return
  end
  local prefix, id = split(parent)
  if call('ZREM', prefix .. 'waiting-children', id) == 0 then
    return
  end
  if hard and prefix == P then
    local fields = call('HMGET', parent, 'parentKey', 'deid')
    M.detach(parent, fields[1], true)
    M.drop(parent)
    M.disown(prefix, id, fields[2])
    return
  end
  local q = lib.queues.open(prefix)
  lib.queues.place(q, id, 0, true)
  if not hard then
    lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'waiting-children')
  end
end

-- True for the one pending run of a scheduler that still exists; such a job goes only with its scheduler.
function M.scheduled(prefix, id, rjk)
  if not rjk then
    return false
  end
  local slot = call('ZSCORE', prefix .. 'repeat', rjk)
  return slot and id == 'repeat:' .. rjk .. ':' .. string.format('%.0f', tonumber(slot))
end

M.split = split
return M
