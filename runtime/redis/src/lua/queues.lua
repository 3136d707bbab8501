-- Module: what all scripts know about a queue, by its key prefix. A parent may live in another queue than its child,
-- so nothing here assumes the queue of the call.
-- Markers are collected and written once, by `settle`.
local M, opened = {}, {}

function M.open(prefix)
  local q = opened[prefix]
  if q then
    return q
  end
  local meta = call('HMGET', prefix .. 'meta', 'paused', 'concurrency', 'version', 'opts.maxLenEvents')
  q = { prefix = prefix, paused = meta[1], concurrency = tonumber(meta[2]), version = meta[3], keep = meta[4] }
  opened[prefix] = q
  return q
end

-- What is wrong when a key of the queue holds something else. For scripts that must write all or nothing: what was
-- written before a command fails stays.
function M.check(q)
  local kinds = {
    id = 'string', meta = 'hash', events = 'stream', marker = 'zset', wait = 'list', paused = 'list',
    active = 'list', prioritized = 'zset', pc = 'string', delayed = 'zset', completed = 'zset',
    ['waiting-children'] = 'zset',
  }
  for last, kind in pairs(kinds) do
    local found = call('TYPE', q.prefix .. last).ok
    if found ~= 'none' and found ~= kind then
      return 'WRONGTYPE ' .. q.prefix .. last .. ' holds a ' .. found .. ', not a ' .. kind
    end
  end
end

-- The list that takes waiting jobs. While a queue is paused, clients of one major version put them into `paused` and
-- those of the other into `wait`, and resuming by the older one overwrites `wait`: so never make the second list
-- where the first exists. Where neither does and a newer client has been seen, an older one may still make `paused`, and
-- a newer one `wait`: false, neither is safe.
function M.list(q)
  if q.target ~= nil then
    return q.target
  end
  local key = q.prefix .. 'wait'
  if q.paused then
    local paused = q.prefix .. 'paused'
    if call('EXISTS', paused) == 1 then
      key = paused
    elseif call('EXISTS', key) == 0 then
      local major = tonumber(string.match(q.version or '', '^bullmq:(%d+)'))
      key = (not major or major < 6) and paused or false
    end
  end
  q.target = key
  return key
end

function M.blocked(q)
  if q.paused then
    return true
  end
  return q.concurrency and call('LLEN', q.prefix .. 'active') >= q.concurrency
end

function M.event(q, name, ...)
  call('XADD', q.prefix .. 'events', '*', 'event', name, ...)
end

function M.trim(q)
  if not q.keep then
    q.keep = 10000
    call('HSET', q.prefix .. 'meta', 'opts.maxLenEvents', q.keep)
  end
  call('XTRIM', q.prefix .. 'events', 'MAXLEN', '~', q.keep)
end

-- Puts a job among the waiting ones; `front` makes it the next of its kind.
function M.place(q, id, priority, front)
  if priority > 0 then
    local score = priority * 4294967296
    if not front then
      score = score + call('INCR', q.prefix .. 'pc') % 4294967296
    end
    call('ZADD', q.prefix .. 'prioritized', score, id)
  else
    local list = M.list(q)
    if not list then
      -- It is due among the delayed ones, in the order the jobs were made, and waits as soon as the queue goes on.
      local made = tonumber(call('HGET', q.prefix .. id, 'timestamp')) or 0
      call('ZADD', q.prefix .. 'delayed', made * 4096, id)
      q.delayed = true
      return
    end
    call(front and 'RPUSH' or 'LPUSH', list, id)
  end
  q.pushed = true
end

-- Puts a job among the delayed ones, behind those due in the same millisecond.
function M.delay(q, id, due)
  local key = q.prefix .. 'delayed'
  local score, top = due * 4096, (due + 1) * 4096 - 1
  local last = call('ZREVRANGEBYSCORE', key, top, score, 'WITHSCORES', 'LIMIT', 0, 1)
  if last[2] then
    score = math.min(tonumber(last[2]) + 1, top)
  end
  call('ZADD', key, score, id)
  q.delayed = true
  M.event(q, 'delayed', 'jobId', id, 'delay', string.format('%.0f', due))
end

-- Moves up to 1000 due jobs to the waiting ones. While a queue is paused and has no `paused` list they stay: a client of
-- the older major version that adds a job makes that list, and on resuming puts it over `wait` and what we had put there.
function M.promote(q, now)
  if q.paused and call('EXISTS', q.prefix .. 'paused') == 0 then
    return
  end
  local key = q.prefix .. 'delayed'
  local ids = call('ZRANGEBYSCORE', key, 0, (now + 1) * 4096 - 1, 'LIMIT', 0, 1000)
  if #ids == 0 then
    return
  end
  local moved, n, fault = {}, 0, nil
  for _, id in ipairs(ids) do
    local job = q.prefix .. id
    -- Where something else has the job's key, whoever claims it says so.
    local priority = redis.pcall('HGET', job, 'priority')
    local foreign = type(priority) == 'table'
    local ok, why = pcall(M.place, q, id, not foreign and tonumber(priority) or 0, false)
    if not ok then
      fault = why
      break
    end
    n = n + 1
    moved[n] = id
    M.event(q, 'waiting', 'jobId', id, 'prev', 'delayed')
    -- A job that was removed behind our back must not come back as a hash with one field.
    if not foreign and (priority or call('EXISTS', job) == 1) then
      call('HSET', job, 'delay', '0')
    end
  end
  -- Only what has found its place: a fault half-way must leave none nowhere.
  if n > 0 then
    call('ZREM', key, unpack(moved))
  end
  if fault then
    error(fault, 0)
  end
end

-- A hint that is not there, because something else has its key, is no fault of what was done.
function M.wake(q)
  redis.pcall('ZADD', q.prefix .. 'marker', '0', '0')
end

-- When the first delayed job is due; nil when there is none.
function M.next_due(prefix)
  local head = call('ZRANGE', prefix .. 'delayed', 0, 0, 'WITHSCORES')
  return head[2] and math.floor(tonumber(head[2]) / 4096)
end

function M.settle()
  for prefix, q in pairs(opened) do
    if q.pushed and not M.blocked(q) then
      M.wake(q)
    end
    if q.delayed then
      local due = M.next_due(prefix)
      if due then
        redis.pcall('ZADD', prefix .. 'marker', due, '1')
      end
    end
  end
end

return M
