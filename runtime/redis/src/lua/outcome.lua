-- Module: the outcomes of an attempt other than completion, and what attempts leave. The job is unlocked and out of
-- `active` already.
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

-- Adds what the attempt cost to the fields that are written anyway; see the record's layout in `finish.lua`.
local function note_cost(fields, cost, made)
  if cost and ARGV[cost] ~= '' then
    fields[#fields + 1] = 'receipt:' .. string.format('%.0f', made)
    fields[#fields + 1] = ARGV[cost]
  end
end

-- Removes receipts that are one too many, and what is not true any more. A rule that was changed may leave several.
function M.thin(job, cost, made)
  local gone = {}
  if ARGV[cost] ~= '' then
    for n = made - tonumber(ARGV[cost + 1]), math.max(made - 20, 1), -1 do
      gone[#gone + 1] = 'receipt:' .. string.format('%.0f', n)
    end
  end
  if ARGV[cost + 2] == '-' then
    gone[#gone + 1] = 'crashes'
  end
  if #gone > 0 then
    call('HDEL', job, unpack(gone))
  end
end

-- What the end of a job means to others.
local function tell_others(job, id, f, reason, keep, now)
  if f[4] then
    lib.dedup.finished(id, f[4], now)
  end
  if f[3] then
    lib.family.child_failed(f[3], job, reason, now)
    if keep == '0' then
      lib.family.detach(job, f[3], false)
    end
  end
end

-- Fails a job that was taken out of where it waited: no attempt is used.
function M.end_waiting(job, id, f, reason, keep, now, prev)
  tell_others(job, id, f, reason, keep, now)
  if keep == '0' then
    lib.family.drop(job)
  else
    call('HSET', job, 'failedReason', reason, 'finishedOn', string.format('%.0f', now))
    call('HDEL', job, 'defa', 'crashes', 'digest')
    call('ZADD', P .. 'failed', string.format('%.0f', now), id)
  end
  call('XADD', P .. 'events', '*', 'event', 'failed', 'jobId', id, 'failedReason', reason, 'prev', prev)
end

function M.fail(job, id, f, reason, stacktrace, keep, attempts, now, cost)
  local made = (tonumber(f[2]) or 0) + 1
  tell_others(job, id, f, reason, keep, now)
  if keep == '0' then
    lib.family.drop(job)
  else
    local fields = { 'failedReason', reason, 'stacktrace', stacktrace, 'finishedOn', string.format('%.0f', now),
      'atm', made }
    note_cost(fields, cost, made)
    call('HSET', job, unpack(fields))
    call('HDEL', job, 'defa', 'crashes', 'digest')
    if cost and made - ARGV[cost + 1] > 0 then
      M.thin(job, cost, made)
    end
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

function M.retry(job, id, f, reason, stacktrace, delay, lifo, now, cost)
  local q = lib.queues.open(P)
  note_context(job)
  local made = (tonumber(f[2]) or 0) + 1
  local fields = { 'failedReason', reason, 'stacktrace', stacktrace, 'atm', made }
  note_cost(fields, cost, made)
  if cost then
    local crashes = ARGV[cost + 2]
    if crashes ~= '' and crashes ~= '-' then
      fields[#fields + 1] = 'crashes'
      fields[#fields + 1] = crashes
    end
    if ARGV[cost + 3] ~= '' then
      fields[#fields + 1] = 'digest'
      fields[#fields + 1] = ARGV[cost + 3]
    end
    M.thin(job, cost, made)
  end
  if delay > 0 then
    fields[#fields + 1] = 'delay'
    fields[#fields + 1] = string.format('%.0f', delay)
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
