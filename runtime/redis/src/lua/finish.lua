-- Ends any number of attempts, then claims jobs. With no attempts to end it is a claim, with `want` 0 only a finish.
--
-- The way of one no-op job costs eight commands here, and its share of another eight a batch: what the queue as a whole
-- needs (settings, locks, the stalled set, markers) is read and written once a batch.
--
-- KEYS[1]  the queue's meta key
-- ARGV[1]  now, ms
-- ARGV[2]  minutes of metrics kept, 0 = none
-- ARGV[3]  number of finishes, n
-- ARGV[4]  want: jobs to claim
-- ARGV[5]  token prefix, [6] number of the first token
-- ARGV[7]  lock, ms
-- ARGV[8]  worker name or ''
-- ARGV[9]  starts allowed in a window by the caller's rate limit or '', [10] the window, ms, or ''
-- ARGV[11 ..]            n ids, then n tokens
-- ARGV[11 + 2n ..]       n records, each
--   'c' result keep                       complete
--   'f' reason stacktrace keep attempts   fail for good
--   'r' reason stacktrace delay lifo      try again; delay in ms, lifo '1' or '0'
--   'd' due                               run at this time, ms
--   'b'                                   give back to the front
--   'l' rest                              the same, and the queue rests so many ms
--   'w'                                   wait for children
--   in front of any of them: '+' flags keep-logs line-count [progress] [data] line...   flags 'p', 'd'
--   then '#' receipt keep-receipts crashes digest: what the attempt cost (JSON, or ''), how many of these the job keeps,
--   how it broke ('' leaves what is there, '-' removes it), and which version ran an attempt that is tried again, or ''
--   keep: '' = all, '0' = none, else '<count>,<age in s>,<limit>'
--
-- Returns { codes, jobs, rest, due, dropped, faults, misfits }
--   codes    per finish: 0 done, 1 missing, 2 lock ran out, 3 not active, 4 pending children, 6 lock taken,
--            7 nothing to wait for, 8 cannot be written: still active, without a lock, 9 failed children
--   jobs     id, flat hash as it was before this start, id, ...; the i-th from 0 has token number first + i
--   rest     ms the queue must rest, 0 = none
--   due      ms time of the next delayed job when fewer than `want` came, 0 = none
--   dropped  id, why: ids without a job that were taken off the queue
--   faults   key's last part, why: what could not be written of jobs that ended
--   misfits  id, why: jobs that nobody can run and that were failed
local now = tonumber(ARGV[1])
local n, want = tonumber(ARGV[3]), tonumber(ARGV[4])
local events, active, delayed, limiter = P .. 'events', P .. 'active', P .. 'delayed', P .. 'limiter'
local meta = call('HMGET', KEYS[1], 'paused', 'concurrency', 'max', 'duration', 'opts.maxLenEvents')

-- Numbers that a command is given as numbers are printed with 17 digits first, which costs as much as half a command:
-- what is a text already stays one.
local codes, faults = {}, {}

-- Does what must not keep the rest from being written. Nothing is rolled back when a command fails half-way: a script that
-- stops there leaves jobs nowhere.
local function try(last, what, ...)
  local ok, fault = pcall(what, ...)
  if not ok then
    faults[#faults + 1] = last
    faults[#faults + 1] = type(fault) == 'table' and fault.err or tostring(fault)
  end
  return ok
end

local completions, failures = 0, 0
local any_delayed, started = true, false
if n > 0 then
  local at = 11 + 2 * n
  local locks, guards = {}, {}
  for i = 1, n do
    local job = P .. ARGV[10 + i]
    locks[i] = job .. ':lock'
    guards[2 * i - 1] = job .. ':dependencies'
    guards[2 * i] = job .. ':unsuccessful'
  end
  locks[n + 1] = limiter
  guards[2 * n + 1] = delayed
  local held = call('MGET', unpack(locks))
  started = held[n + 1]
  local found = call('EXISTS', unpack(guards))
  any_delayed = found > 0 and call('EXISTS', delayed) == 1
  local children = found > (any_delayed and 1 or 0)
  local freed, freed_ids, seen = {}, {}, {}
  local groups = {
    completed = { members = {}, policy = '', ends = 0 },
    failed = { members = {}, policy = '', ends = 0 },
  }

  -- Lists finished jobs, then applies the rule that they share. Where they cannot be listed they are active still, and
  -- are recovered as stalled.
  local function settle(set)
    local group = groups[set]
    local members, ends = group.members, group.ends
    if ends == 0 then
      return
    end
    group.members, group.ends = {}, 0
    local reply = redis.pcall('ZADD', P .. set, unpack(members))
    if type(reply) == 'table' and reply.err then
      faults[#faults + 1] = set
      faults[#faults + 1] = reply.err
      for k = 2, #members, 2 do
        call('LPUSH', active, members[k])
        for i = 1, n do
          if ARGV[10 + i] == members[k] and codes[i] == 0 then
            codes[i] = 8
          end
        end
      end
    elseif group.policy ~= '' then
      try(set, lib.retention.apply, set, group.policy, now, ends)
    end
  end

  -- Jobs with one rule are listed together. Another rule must not see those that come after it.
  local function list(set, id, policy)
    local group = groups[set]
    if group.policy ~= policy then
      settle(set)
      group.policy = policy
    end
    group.ends = group.ends + 1
    group.members[2 * group.ends - 1] = ARGV[1]
    group.members[2 * group.ends] = id
  end

  local function write(job, id, f, kind, a, b, c, d, extra, cost)
    if extra then
      lib.recorded.write(job, id, extra)
    end
    if f[3] then
      -- What goes by the rule of a job before may set a parent free, and this job's parent may be one that failed before.
      settle('completed')
      settle('failed')
    end
    if kind == 'c' then
      if f[4] then
        lib.dedup.finished(id, f[4], now)
      end
      if f[3] then
        lib.family.child_completed(f[3], job, a, now)
      end
      if b == '0' then
        if f[3] then
          lib.family.detach(job, f[3], false)
        end
        lib.family.drop(job)
      else
        local made = f[2] and tonumber(f[2]) + 1 or '1'
        if not cost or ARGV[cost] == '' then
          call('HSET', job, 'returnvalue', a, 'finishedOn', ARGV[1], 'atm', made)
        else
          call('HSET', job, 'returnvalue', a, 'finishedOn', ARGV[1], 'atm', made, 'receipt:' .. made, ARGV[cost])
        end
        if tonumber(made) > 1 then
          call('HDEL', job, 'digest')
        end
        if cost and (made - ARGV[cost + 1] > 0 or ARGV[cost + 2] ~= '') then
          lib.outcome.thin(job, cost, tonumber(made))
        end
      end
      if completions == 0 then
        call('XADD', events, 'MAXLEN', '~', meta[5] or '10000', '*', 'event', 'completed', 'jobId', id,
          'returnvalue', a, 'prev', 'active')
      else
        call('XADD', events, '*', 'event', 'completed', 'jobId', id, 'returnvalue', a, 'prev', 'active')
      end
      completions = completions + 1
      if b ~= '0' then
        list('completed', id, b)
      end
    elseif kind == 'f' then
      lib.outcome.fail(job, id, f, a, b, c, tonumber(d), now, cost)
      failures = failures + 1
      if c ~= '0' then
        list('failed', id, c)
      end
    elseif kind == 'r' then
      lib.outcome.retry(job, id, f, a, b, tonumber(c), d == '1', now, cost)
    else
      lib.outcome.give_back(job, id, kind, a, now)
    end
  end

  for i = 1, n do
    local id, token = ARGV[10 + i], ARGV[10 + n + i]
    local job = P .. id
    local extra = nil
    if ARGV[at] == '+' then
      extra = at
      local flags = ARGV[at + 1]
      at = at + 4 + #flags + tonumber(ARGV[at + 3])
    end
    local cost = nil
    if ARGV[at] == '#' then
      cost = at + 1
      at = at + 5
    end
    local kind = ARGV[at]
    local a, b, c, d = ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
    local size = kind == 'c' and 3 or (kind == 'f' or kind == 'r') and 5 or (kind == 'd' or kind == 'l') and 2 or 1

    local f = redis.pcall('HMGET', job, 'name', 'atm', 'parentKey', 'deid')
    local mine = held[i] == token and not seen[id]
    local code = 0
    if f.err then
      code = 8
      faults[#faults + 1] = id
      faults[#faults + 1] = f.err
    elseif not f[1] then
      code = 1
    elseif not mine then
      code = (held[i] and not seen[id]) and 6 or 2
    elseif children and (kind == 'c' or kind == 'w') then
      if kind == 'c' and call('SCARD', job .. ':dependencies') > 0 then
        code = 4
      elseif call('ZCARD', job .. ':unsuccessful') > 0 then
        code = 9
      elseif kind == 'w' and call('SCARD', job .. ':dependencies') == 0 then
        code = 7
      end
    elseif kind == 'w' then
      code = 7
    end
    if mine and code <= 1 then
      -- Also for a job that is gone: what is left of it must not count as running.
      seen[id] = true
      freed[#freed + 1] = locks[i]
      freed_ids[#freed_ids + 1] = id
      if call('LREM', active, '-1', id) == 0 and code == 0 then
        code = 3
      end
    end
    codes[i] = code

    if code == 0 and kind ~= 'c' and kind ~= 'f' and lib.cancels.is_for(id, token) then
      -- Its host did not hear of it in time: it must not run again.
      lib.cancels.defer(job, id)
      kind, c = (kind == 'r' or kind == 'l') and kind or 'b', kind == 'r' and '0' or c
    end
    if code == 0 then
      if not try(id, write, job, id, f, kind, a, b, c, d, extra, cost) then
        codes[i] = 8
        call('LPUSH', active, id)
      end
    end
    at = at + size
  end

  if #freed > 0 then
    call('DEL', unpack(freed))
    try('stalled', redis.call, 'SREM', P .. 'stalled', unpack(freed_ids))
  end
  settle('completed')
  settle('failed')
  if not meta[5] and #freed > 0 then
    call('HSET', KEYS[1], 'opts.maxLenEvents', '10000')
  end
  if completions == 0 then
    redis.pcall('XTRIM', events, 'MAXLEN', '~', meta[5] or '10000')
  end
  if rawget(lib, 'queues') then
    -- What these finishes put back may be due already, and one of them may have asked for a rest.
    any_delayed, started = true, redis.pcall('GET', limiter)
  end
elseif want > 0 then
  started = redis.pcall('GET', limiter)
end

local jobs, dropped, misfits = {}, {}, {}
local rest, due, claimed, dry, blocked = 0, 0, 0, false, false

local function claim()
  local asked = want
  if type(started) == 'table' then
    error(started)
  end
  if any_delayed and #call('ZRANGEBYSCORE', delayed, '0', (now + 1) * 4096 - 1, 'LIMIT', '0', '1') > 0 then
    lib.queues.promote(lib.queues.open(P), now)
  end

  -- A rest that somebody asked for by hand is stored as a count no window can reach; it holds with and without limits.
  local max = tonumber(meta[3]) or tonumber(ARGV[9])
  local window = tonumber(ARGV[10]) or tonumber(meta[4])
  started = tonumber(started) or 0
  if not window then
    max = nil
  end
  if started >= 9007199254740991 or (max and started >= max) then
    rest = call('PTTL', limiter)
    if rest > 0 then
      want = 0
    else
      -- Without an expiry it would hold for ever.
      call('DEL', limiter)
      rest, started = 0, 0
    end
  end
  if meta[1] then
    blocked, want = true, 0
  elseif tonumber(meta[2]) then
    local room = tonumber(meta[2]) - call('LLEN', active)
    if room <= 0 then
      blocked, want = true, 0
    else
      want = math.min(want, room)
    end
  end

  -- Starts left in the window. Those of jobs that are only to be failed do not count.
  local left, spent = max and max - started, 0
  while claimed < want and (not left or spent < left) do
    local need = math.min(want - claimed, left and left - spent or want)
    local ids, scored
    if need == 1 then
      local id = call('RPOPLPUSH', P .. 'wait', active)
      ids = id and { id }
    else
      ids = call('RPOP', P .. 'wait', need)
    end
    if not ids then
      scored = redis.pcall('ZPOPMIN', P .. 'prioritized', need)
      if scored.err then
        -- Those that wait without a priority go on; when there are none, this is the answer.
        if claimed == 0 then
          error(scored)
        end
        break
      elseif #scored == 0 then
        call('DEL', P .. 'pc')
        dry = true
        break
      end
      ids = {}
      for i = 1, #scored, 2 do
        ids[#ids + 1] = scored[i]
      end
    end
    local listed = (need > 1 or scored) and redis.pcall('LPUSH', active, unpack(ids))

    -- Puts back what was taken, from the i-th on: it cannot be started.
    local function put_back(i, fault)
      for k = #ids, i, -1 do
        if not (type(listed) == 'table') then
          call('LREM', active, '1', ids[k])
        end
        if scored then
          call('ZADD', P .. 'prioritized', scored[2 * k], ids[k])
        else
          call('RPUSH', P .. 'wait', ids[k])
        end
      end
      error(fault)
    end
    if type(listed) == 'table' then
      put_back(1, listed)
    end

    local cancels = lib.cancels.any()
    for i = 1, #ids do
      local id = ids[i]
      local job = P .. id
      local hash = redis.pcall('HGETALL', job)
      local starts, begun, named, deferred = nil, nil, false, false
      for k = 1, #hash, 2 do
        local field = hash[k]
        if field == 'name' then
          named = true
        elseif field == 'ats' then
          starts = hash[k + 1]
        elseif field == 'processedOn' then
          begun = hash[k + 1]
        elseif field == 'defa' then
          deferred = true
        end
      end
      local misfit = nil
      if not named or id == '' or string.find(id, '[\128-\255]') then
        misfit = lib.misfits.fault(id, hash)
      end
      local mine = false
      if misfit then
        call('LREM', active, '1', id)
        misfits[#misfits + 1] = id
        misfits[#misfits + 1] = misfit
        if not try(id, lib.misfits.fail, id, misfit, now) then
          call('LPUSH', active, id)
        end
      elseif named then
        local token = claimed == 0 and ARGV[6] or string.format('%.0f', ARGV[6] + claimed)
        token = ARGV[5] .. ':' .. token
        mine = call('SET', job .. ':lock', token, 'PX', ARGV[7], 'NX')
        if not mine then
          -- Either its id was waiting twice and it runs, or the lock is a leftover.
          mine = not call('LPOS', active, id, 'RANK', '2')
          if mine then
            call('SET', job .. ':lock', token, 'PX', ARGV[7])
          end
        end
      end
      if mine then
        local told = redis.pcall('XADD', events, '*', 'event', 'active', 'jobId', id, 'prev', 'waiting')
        if type(told) == 'table' then
          call('DEL', job .. ':lock')
          put_back(i, told)
        end
        if cancels and starts and not deferred and lib.cancels.is_for_start(id, starts, begun) then
          -- Its last attempt was to end, and whoever ran it did not hear of it.
          lib.cancels.defer(job, id)
          hash[#hash + 1] = 'defa'
          hash[#hash + 1] = lib.cancels.reason
          deferred = true
        end
        starts = tonumber(starts or nil)
        starts = starts and starts + 1 or '1'
        if ARGV[8] == '' then
          call('HSET', job, 'processedOn', ARGV[1], 'ats', starts)
        else
          call('HSET', job, 'processedOn', ARGV[1], 'ats', starts, 'pb', ARGV[8])
        end
        claimed = claimed + 1
        jobs[2 * claimed - 1] = id
        jobs[2 * claimed] = hash
        if not deferred then
          spent = spent + 1
        end
      elseif named and not misfit then
        call('LREM', active, '1', id)
      elseif not misfit then
        call('LREM', active, '1', id)
        call('DEL', job .. ':lock')
        dropped[#dropped + 1] = id
        dropped[#dropped + 1] = hash.err or ''
      end
    end
  end

  if max and spent > 0 then
    local total = redis.pcall('INCRBY', limiter, spent)
    if type(total) == 'table' then
      -- No number: the window begins anew.
      call('SET', limiter, spent)
      total = spent
    end
    if total == spent then
      call('PEXPIRE', limiter, math.floor(math.abs(window)))
    end
    if claimed < asked and not dry and total >= max then
      rest = math.max(call('PTTL', limiter), 0)
    end
  end
  if claimed < asked and rest == 0 and not blocked then
    local head = any_delayed and call('ZRANGE', delayed, '0', '0', 'WITHSCORES') or {}
    due = head[2] and math.floor(tonumber(head[2]) / 4096) or 0
  end
end
if want > 0 then
  local ok, fault = pcall(claim)
  if not ok and n == 0 then
    return type(fault) == 'table' and fault or redis.error_reply(tostring(fault))
  end
  -- After ends the next claim says what is wrong: their answer must not be lost.
end

local function tell_drained()
  if call('LLEN', active) == 0 and call('LLEN', P .. 'wait') == 0 and call('ZCARD', P .. 'prioritized') == 0 then
    call('XADD', events, '*', 'event', 'drained')
  end
end
local ended = completions + failures
if ended > 0 then
  if ARGV[2] ~= '0' then
    local count, minutes = lib.metrics.count, tonumber(ARGV[2])
    if completions > 0 then
      try('metrics:completed', count, 'completed', completions, now, minutes)
    end
    if failures > 0 then
      try('metrics:failed', count, 'failed', failures, now, minutes)
    end
  end
  if claimed == 0 and rest == 0 and due == 0 and not blocked then
    pcall(tell_drained)
  end
end
if rawget(lib, 'queues') then
  if dry then
    lib.queues.open(P).pushed = false
  end
  lib.queues.settle()
end
-- Wakes the next worker, who may find more. Needless when this claim emptied the queue. Where the queue's concurrency
-- held workers back, the room made here and not filled is for one of them.
local wakes = claimed > 0 and not dry
if claimed == 0 and n > 0 and not dry and rest == 0 and not meta[1] and tonumber(meta[2]) then
  wakes = call('LLEN', active) < tonumber(meta[2]) and call('EXISTS', P .. 'wait', P .. 'prioritized') > 0
end
if wakes then
  redis.pcall('ZADD', P .. 'marker', '0', '0')
end
return { codes, jobs, rest, due, dropped, faults, misfits }
