-- Ends any number of attempts, then claims items. With no attempts to end it is a claim, with `want` 0 only a finish.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  now, ms
-- ARGV[3]  ms that records stay which were made here and whose job completed, '' = for ever
-- ARGV[4]  number of finishes, n; [5] want: items to claim
-- ARGV[6]  host; [7] number of the first token
-- ARGV[8]  lock, ms
-- ARGV[9]  starts allowed in a window or ''; [10] the window, ms, or ''
-- ARGV[11] bytes after which no more items are claimed
-- ARGV[12 ..] n records, each
--   token, id, record, flags, log lines kept or '', number of log lines, a value each flag, line..., kind, a, b, c, d
--   flags  'p' progress, 'd' data, 'r' what the attempt cost (JSON), 'k' how it broke, or '-' for not,
--          'v' the version that ran it
--   kind   'c' complete       a result, b keep ('' all, '0' none, else ms)
--          'f' fail           a reason, b keep ('' all, '0' none, else how many), c traces (JSON)
--          'r' try again      a reason, b delay ms, c traces (JSON), d '1' in front
--          'd' run then       a due ms
--          'b' give back
--          'l' the same, and the queue rests  a ms
--          'w' wait for children
-- Returns { codes, items, rest, due, faults, evicted, untold, unclaimed }
--   codes    per finish: 0 done, 1 missing, 2 lock ran out, 3 not active, 6 lock taken, 7 nothing to wait for,
--            8 cannot be written: still held, with a lock that has run out
--   items    claimed; the i-th from 0 has token number first + i
--   rest     ms the queue must rest, 0 = none; due: ms time of the next delayed item, 0 = none
--   faults   record, why; evicted: dead items that had to go; untold: why an update was not published, or ''
--   unclaimed  why nothing could be claimed although the ends are written, or ''
local now, n, want = tonumber(ARGV[2]), tonumber(ARGV[4]), tonumber(ARGV[5])
local t = clock()
local codes, faults, evicted = {}, {}, {}
if n > 0 then
  go_on_when_full()
end

local function said(job, at)
  local flags, keep, lines = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  at = at + 3
  for i = 1, #flags do
    local flag = string.sub(flags, i, i)
    if flag == 'p' then
      note(job.record, 'progress', ARGV[at])
      event('progress', job.id, 'data', ARGV[at])
    elseif flag == 'd' then
      note(job.record, 'data', ARGV[at], 'updated', '1')
    elseif flag == 'k' then
      job.crashes = ARGV[at]
    elseif flag == 'v' then
      job.digest = ARGV[at]
    else
      job.cost = { 'receipt', ARGV[at] }
    end
    at = at + 1
  end
  if lines > 0 and job.record then
    local logs = job.record .. ':logs'
    for first = at, at + lines - 1, 1000 do
      try('RPUSH', logs, unpack(ARGV, first, math.min(first + 999, at + lines - 1)))
    end
    if keep ~= '' then
      try('LTRIM', logs, '-' .. keep, '-1')
    end
  end
end

local function complete(job, made, result, keep)
  -- Without the outcome the item must stay: these are the writes that may refuse.
  own(job.record)
  call('HSET', job.record, 'status', 'COMPLETED', 'result', result, 'attempts', made + 1, 'finishedAt', ARGV[2],
    unpack(job.cost or {}))
  call('HDEL', job.record, 'error', 'failing', 'dueAt', 'delay', 'crashes', 'digest')
  if keep == '0' then
    expire(job.record, 10000, now)
  elseif keep ~= '' then
    expire(job.record, tonumber(keep), now)
  elseif ARGV[3] ~= '' and call('HEXISTS', job.record, 'madeBy') == 1 then
    expire(job.record, tonumber(ARGV[3]), now)
  end
  tell(job, 'COMPLETED')
  event('completed', job.id, 'prev', 'active')
end

local function fail(job, made, reason, keep, traces)
  -- Before anything says that the job failed: this is the one write that may refuse, and then it is still running.
  if keep ~= '0' then
    call('LPUSH', DEAD, job.item)
  end
  note(job.record, 'status', 'FAILED', 'error', reason, 'trace', traces, 'attempts', made + 1, 'finishedAt', ARGV[2],
    unpack(job.cost or {}))
  forget(job.record, 'result', 'failing', 'dueAt', 'delay', 'crashes', 'digest')
  if keep == '0' then
    if job.record and try('HEXISTS', job.record, 'status') == 1 then
      expire(job.record, 10000, now)
    end
  elseif keep ~= '' then
    for _, old in ipairs(call('LRANGE', DEAD, keep, '-1')) do
      evicted[#evicted + 1] = old
    end
    call('LTRIM', DEAD, '0', tonumber(keep) - 1)
  end
  tell(job, 'FAILED', reason)
  event('failed', job.id, 'failedReason', reason, 'prev', 'active')
end

local function put_back(job, due, front, why)
  note(job.record, 'status', 'RETRYING')
  if job.cancel then
    -- Its host did not hear of it in time: it must not run again.
    note(job.record, 'failing', CANCELLED)
    due = nil
  end
  if due then
    note(job.record, 'dueAt', due, 'delay', string.format('%.0f', math.max(due - now, 0)))
    later(job.item, due)
    event('delayed', job.id, 'delay', due)
  else
    call(front and 'RPUSH' or 'LPUSH', K, job.item)
    event('waiting', job.id, 'prev', 'active')
  end
  tell(job, 'RETRYING', why)
end

local function write(host, token, job, at, kind, a, b, c, d)
  said(job, at)
  local attempts = job.record and try('HGET', job.record, 'attempts')
  local made = type(attempts) == 'string' and tonumber(attempts) or 0
  if kind == 'c' then
    complete(job, made, a, b)
  elseif kind == 'f' then
    fail(job, made, a, b, c)
  elseif kind == 'r' then
    note(job.record, 'error', a, 'trace', c, 'attempts', made + 1, unpack(job.cost or {}))
    if job.crashes == '-' then
      forget(job.record, 'crashes')
    elseif job.crashes then
      note(job.record, 'crashes', job.crashes)
    end
    if job.digest then
      note(job.record, 'digest', job.digest)
    end
    put_back(job, b ~= '0' and string.format('%.0f', now + b) or nil, d == '1', a)
  elseif kind == 'd' then
    put_back(job, a, false)
  else
    put_back(job, nil, true)
    if kind == 'l' then
      call('SET', K .. ':rest', '1', 'PX', a)
    end
  end
  let_go(host, token, job)
end

local at = 12
for i = 1, n do
  local token, id, record = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local recorded = at + 3
  local k = at + 6 + #ARGV[at + 3] + tonumber(ARGV[at + 5])
  local host = host_of(token)
  local holds = call('ZSCORE', locks_of(host), token)
  local job = holds and held(host, token)
  local code = 0
  if not job then
    if record ~= '' and call('HEXISTS', RUNNING, record) == 1 then
      code = 6
    else
      code = (record ~= '' and call('EXISTS', record) == 0) and 1 or 3
    end
  elseif job.id ~= id then
    code = 1
  elseif tonumber(holds) <= t then
    code = 2
  elseif ARGV[k] == 'w' then
    code = 7
  else
    -- Nothing is rolled back when a command fails half-way, so a fault of one job must not end the script.
    local ok, fault = pcall(write, host, token, job, recorded, ARGV[k], ARGV[k + 1], ARGV[k + 2], ARGV[k + 3],
      ARGV[k + 4])
    if not ok then
      code = 8
      call('ZADD', locks_of(host), '0', token)
      faults[#faults + 1] = record
      faults[#faults + 1] = type(fault) == 'table' and fault.err or tostring(fault)
    end
  end
  codes[i] = code
  at = k + 5
end

local items, rest, due = {}, 0, 0
local asked, host = want, ARGV[6]

local function claim()
  for _, item in ipairs(call('ZRANGEBYSCORE', DELAYED, '-inf', ARGV[2], 'LIMIT', '0', '1000')) do
    local more = tonumber(call('HGET', COPIES, item)) or 0
    for _ = 0, more do
      call('LPUSH', K, item)
    end
    call('HDEL', COPIES, item)
    call('ZREM', DELAYED, item)
  end

  local max, window, limiter = tonumber(ARGV[9]), ARGV[10], K .. ':limiter'
  rest = math.max(call('PTTL', K .. ':rest'), 0)
  if rest == 0 and max then
    local started = tonumber(call('GET', limiter)) or 0
    if started >= max then
      rest = call('PTTL', limiter)
      if rest < 0 then
        -- Without an expiry it would hold for ever.
        call('DEL', limiter)
        rest, started = 0, 0
      else
        rest = math.max(rest, 1)
      end
    end
    want = math.min(want, max - started)
  end
  if rest > 0 then
    want = 0
  end

  local locks, claims, bytes, dry = {}, {}, 0, false
  if want > 0 and call('LLEN', K) > 0 then
    -- First of all: recovery looks at the hosts named here, and nothing is undone when a later command fails.
    call('SADD', K .. ':hosts', host)
  end
  local prefix, first, holds = host .. ':', tonumber(ARGV[7]), string.format('%.0f', t + ARGV[8])
  while #items < want and bytes < tonumber(ARGV[11]) do
    local item = call('LMOVE', K, K .. ':processing:' .. host, 'RIGHT', 'LEFT')
    if not item then
      dry = true
      break
    end
    local token = prefix .. string.format('%.0f', first + #items)
    items[#items + 1] = item
    bytes = bytes + #item
    locks[#locks + 1], locks[#locks + 2] = holds, token
    claims[#claims + 1], claims[#claims + 2] = token, item
  end
  if #items > 0 then
    call('ZADD', locks_of(host), unpack(locks))
    call('HSET', K .. ':claims:' .. host, unpack(claims))
    beat(host)
    if max then
      local total = try('INCRBY', limiter, #items)
      if type(total) == 'table' then
        -- No number: the window begins anew.
        call('SET', limiter, #items)
        total = #items
      end
      if total == #items then
        call('PEXPIRE', limiter, window)
      end
      if #items < asked and not dry and total >= max then
        rest = math.max(call('PTTL', limiter), 1)
      end
    end
  end
  if #items < asked and rest == 0 then
    local head = call('ZRANGE', DELAYED, '0', '0', 'WITHSCORES')[2]
    due = head and math.floor(tonumber(head)) or 0
  end
end

local unclaimed = ''
if want > 0 and call('EXISTS', K .. ':paused') == 0 then
  local ok, fault = pcall(claim)
  if not ok then
    -- Nobody will run what was taken. It goes back as it was: the last one first, to be the last of them again.
    for i = #items, 1, -1 do
      local token = host .. ':' .. string.format('%.0f', tonumber(ARGV[7]) + i - 1)
      try('HDEL', K .. ':claims:' .. host, token)
      try('ZREM', locks_of(host), token)
      if try('LREM', K .. ':processing:' .. host, '1', items[i]) == 1 then
        try('RPUSH', K, items[i])
      end
    end
    if n == 0 then
      return type(fault) == 'table' and fault or redis.error_reply(tostring(fault))
    end
    items, rest, due = {}, 0, 0
    unclaimed = type(fault) == 'table' and fault.err or tostring(fault)
  end
end
return { codes, items, rest, due, faults, evicted, untold, unclaimed }
