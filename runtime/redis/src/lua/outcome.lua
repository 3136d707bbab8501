-- Module: the outcomes of an attempt other than completion. The job is unlocked and out of `active` already.
-- `f`: the job's name, atm, parentKey and deid.
local M = {}

-- A failed attempt is stored with its telemetry context, as BullMQ's workers do: the producer's, unless that is not to be
-- handed on.
local function note_context(job)
  local json = call('HGET', job, 'opts')
  if not json or not string.find(json, '"tm"', 1, true) then
    return
  end
  local ok, opts = pcall(cjson.decode, json)
  if ok and type(opts) == 'table' and type(opts.tm) == 'string' and opts.omc ~= true then
    call('HSET', job, 'tm', opts.tm)
  end
end

function M.fail(job, id, f, reason, stacktrace, keep, attempts, now)
  local made = (tonumber(f[2]) or 0) + 1
  if f[4] then
    lib.dedup.finished(id, f[4], now)
  end
  if f[3] then
    lib.family.child_failed(f[3], job, reason, now)
  end
  if keep == '0' then
    if f[3] then
      lib.family.detach(job, f[3], false)
    end
    lib.family.drop(job)
  else
    call('HSET', job, 'failedReason', reason, 'stacktrace', stacktrace, 'finishedOn', string.format('%.0f', now),
      'atm', made)
    call('HDEL', job, 'defa')
    note_context(job)
  end
  call('XADD', P .. 'events', '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', 'active')
  if made >= attempts then
    call('XADD', P .. 'events', '*', 'event', 'retries-exhausted', 'jobId', id, 'attemptsMade', made)
  end
end

local function priority(job)
  return tonumber(call('HGET', job, 'priority')) or 0
end

function M.retry(job, id, f, reason, stacktrace, delay, lifo, now)
  local q = lib.queues.open(P)
  note_context(job)
  local fields = { 'failedReason', reason, 'stacktrace', stacktrace, 'atm', (tonumber(f[2]) or 0) + 1 }
  if delay > 0 then
    fields[7], fields[8] = 'delay', string.format('%.0f', delay)
    call('HSET', job, unpack(fields))
    lib.queues.delay(q, id, now + delay)
    return
  end
  -- Jobs that came due while this one ran are older.
  lib.queues.promote(q, now)
  call('HSET', job, unpack(fields))
  local prio = priority(job)
  lib.queues.place(q, id, prio, lifo and prio == 0)
  lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'active')
end

function M.give_back(job, id, kind, a, now)
  local q = lib.queues.open(P)
  if kind == 'd' then
    local due = tonumber(a)
    call('HSET', job, 'delay', string.format('%.0f', math.max(due - now, 0)))
    lib.queues.delay(q, id, due)
    return
  end
  if kind == 'w' then
    call('ZADD', P .. 'waiting-children', now, id)
    lib.queues.event(q, 'waiting-children', 'jobId', id, 'prev', 'active')
    return
  end
  if kind == 'l' then
    call('SET', P .. 'limiter', '9007199254740991', 'PX', a)
  end
  lib.queues.place(q, id, priority(job), true)
  lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'active')
end

return M
