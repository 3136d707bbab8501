-- Module: deduplication ids of the call's queue. `de:<id>` names the job that owns an id, `dn:<id>` the job to be made
-- when that owner finishes.
local M = {}

-- Version 5 of BullMQ tells under an old name, too; where its newest client is of another version nobody listens for that.
local function told(q, owner, deid, rejected)
  local major = tonumber(string.match(q.version or '', '^bullmq:(%d+)'))
  if major and major < 6 then
    lib.queues.event(q, 'debounced', 'jobId', owner, 'debounceId', deid)
  end
  lib.queues.event(q, 'deduplicated', 'jobId', owner, 'deduplicationId', deid, 'deduplicatedJobId', rejected)
end

local function own(key, id, ttl)
  if ttl then
    call('SET', key, id, 'PX', ttl)
  else
    call('SET', key, id)
  end
end

-- The owner, unless its job is gone and nothing but this key remembers it.
local function living(q, key, deid)
  local owner = call('GET', key)
  if owner and call('PTTL', key) == -1 and call('EXISTS', q.prefix .. owner) == 0 then
    call('DEL', key, q.prefix .. 'dn:' .. deid)
    return false
  end
  return owner
end

local function replace(q, key, owner, id, deid, d, parent)
  -- What was kept back behind the old owner would otherwise come after the new one.
  call('DEL', q.prefix .. 'dn:' .. deid)
  local job = q.prefix .. owner
  local before = call('HGET', job, 'parentKey')
  if before and before == parent then
    -- It is about to wait for the new job instead.
    call('SREM', parent .. ':dependencies', job)
  else
    lib.family.detach(job, before, false)
  end
  lib.family.drop(job)
  lib.queues.event(q, 'removed', 'jobId', owner, 'prev', 'delayed')
  told(q, id, deid, owner)
  if not d.ttl then
    call('SET', key, id)
  elseif d.extend then
    call('SET', key, id, 'PX', d.ttl)
  else
    call('SET', key, id, 'KEEPTTL')
  end
end

local function keep_last(q, key, owner, deid, j)
  if not call('LPOS', q.prefix .. 'active', owner) then
    return false
  end
  local next = q.prefix .. 'dn:' .. deid
  local fields = { 'name', j.name, 'data', j.data, 'opts', j.opts, 'jid', j.id }
  if j.parent then
    for _, text in ipairs({ 'pk', j.parent, 'pd', j.parent_json, 'pdk', j.parent .. ':dependencies' }) do
      fields[#fields + 1] = text
    end
  end
  call('DEL', next)
  call('HSET', next, unpack(fields))
  call('PERSIST', key)
  return true
end

-- A delayed owner gets the delay of its duplicate, counted from when that was made.
local function reschedule(q, owner, j)
  if call('ZSCORE', q.prefix .. 'delayed', owner) then
    call('HSET', q.prefix .. owner, 'delay', j.delay)
    lib.queues.delay(q, owner, tonumber(j.timestamp) + tonumber(j.delay))
  end
end

-- Before job `j` is stored under `id`. Returns the owner when nothing must be stored.
-- `d`: id, ttl in ms or nil, extend, replace, keep, reschedule.
function M.admit(q, j, id, d)
  local key = q.prefix .. 'de:' .. d.id
  local ttl = not d.keep and d.ttl or nil
  local owner = living(q, key, d.id)
  if not owner then
    own(key, id, ttl)
    return nil
  end
  if d.replace then
    if call('ZREM', q.prefix .. 'delayed', owner) == 1 then
      replace(q, key, owner, id, d.id, { ttl = ttl, extend = d.extend }, j.parent)
      return nil
    end
    if d.keep and keep_last(q, key, owner, d.id, j) then
      told(q, owner, d.id, id)
    end
    return owner
  end
  if d.extend and ttl then
    call('PEXPIRE', key, ttl)
  end
  if d.keep and not keep_last(q, key, owner, d.id, j) and d.extend and d.ttl then
    call('PERSIST', key)
  end
  told(q, owner, d.id, id)
  if d.reschedule then
    reschedule(q, owner, j)
  end
  return owner
end

local function make_next(q, deid, now)
  local key = q.prefix .. 'dn:' .. deid
  local f = call('HMGET', key, 'name', 'data', 'opts', 'jid', 'pk', 'pd', 'rjk')
  call('DEL', key)
  if not f[1] then
    return
  end
  local counted = call('INCR', q.prefix .. 'id')
  local id = f[4] or string.format('%.0f', counted)
  if call('EXISTS', q.prefix .. id) == 1 then
    lib.queues.event(q, 'duplicated', 'jobId', id)
    return
  end
  local ok, opts = pcall(cjson.decode, f[3] or '{}')
  if not ok or type(opts) ~= 'table' then
    opts = {}
  end
  own(q.prefix .. 'de:' .. deid, id, nil)
  lib.jobs.store(q, {
    id = id, name = f[1], data = f[2] or '{}', opts = f[3] or '{}',
    timestamp = string.format('%.0f', tonumber(opts.timestamp) or now),
    delay = string.format('%.0f', tonumber(opts.delay) or 0),
    priority = string.format('%.0f', tonumber(opts.priority) or 0),
    lifo = opts.lifo == true, parent = f[5] or nil, parent_json = f[6] or '{}', rjk = f[7] or nil, deid = deid,
    alone = f[5] and call('EXISTS', f[5]) == 0,
  })
end

-- The owner finished for good: its id is free unless a time to live still holds it, and a job kept back is made now.
function M.finished(id, deid, now)
  local key = P .. 'de:' .. deid
  local ttl = call('PTTL', key)
  if ttl == 0 or (ttl == -1 and call('GET', key) == id) then
    call('DEL', key)
  end
  if call('EXISTS', P .. 'dn:' .. deid) == 1 then
    make_next(lib.queues.open(P), deid, now)
  end
end

return M
