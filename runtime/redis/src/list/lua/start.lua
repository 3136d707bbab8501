-- Starts claimed jobs, now that the host has read the items and knows which they are.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  now, ms; [3] lock, ms; [4] worker name or ''
-- ARGV[5]  number of jobs, n; [6 ..] n jobs, each
--   token, id, record or '', tenant or '', name or '', mode
--   mode  'd' the record's data is wanted, 'w' it is not: the item has its own, 'x' it will not run: only held
-- Returns n answers
--   { 0, data, name, tenant, attempts, starts, stalls, error, trace, progress, failing, addedAt, telemetry,
--     delay, crashes, depth, digest }
--   { 1 }       the lock is gone
--   { 2 }       the same job runs already: the item waits for its end
--   { 3, why }  held, and its record holds something else
local now, worker, n = tonumber(ARGV[2]), ARGV[4], tonumber(ARGV[5])
local answers = {}

local function hold(host, token, job)
  local fields = { token .. '/id', job.id }
  for _, name in ipairs({ 'record', 'tenant' }) do
    if job[name] then
      fields[#fields + 1] = token .. '/' .. name
      fields[#fields + 1] = job[name]
    end
  end
  call('HSET', K .. ':claims:' .. host, unpack(fields))
  if job.record then
    call('HSET', RUNNING, job.record, token)
  end
end

local function start(host, token, job, name, mode)
  local f = try('HMGET', job.record, 'status', 'name', 'tenantId', 'attempts', 'starts', 'stalls', 'error', 'trace',
    'progress', 'failing', 'addedAt', 'telemetry', 'updated', 'expiresAt', 'delay', 'crashes',
    'depth', 'digest')
  if f.err then
    hold(host, token, job)
    return { 3, f.err }
  end
  job.tenant = job.tenant or f[3]
  hold(host, token, job)
  if mode == 'x' then
    return { 3, '' }
  end
  local record, fields = job.record, { 'status', 'RUNNING', 'startedAt', ARGV[2] }
  local function set(field, value)
    fields[#fields + 1] = field
    fields[#fields + 1] = value
  end
  if f[1] == 'RUNNING' or f[1] == 'RETRYING' then
    call('HDEL', record, 'dueAt', 'delay')
    f[15] = false
  else
    -- A job like any before it, or one that has ended and was pushed again.
    if call('EXISTS', record) == 0 then
      set('madeBy', 'jobcell')
    end
    local queued = f[1] == 'WAITING'
    call('HDEL', record, 'result', 'error', 'trace', 'progress', 'failing', 'finishedAt', 'dueAt', 'delay',
      'expiresAt', 'crashes', 'receipt', 'digest')
    f[16], f[18] = false, false
    local logs = logs_of(record)
    if logs then
      call('DEL', logs)
    end
    if f[14] then
      call('PERSIST', record)
    end
    for k = 4, 10 do
      f[k] = false
    end
    f[11] = queued and f[11] or ARGV[2]
    if not queued then
      call('HDEL', record, 'updated', 'telemetry', 'depth')
      f[12], f[13], f[15], f[17] = false, false, false, false
    end
    set('attempts', '0')
    set('stalls', '0')
    set('addedAt', f[11])
  end
  local starts = (tonumber(f[5]) or 0) + 1
  set('starts', starts)
  if name then
    set('name', name)
  end
  if job.tenant then
    set('tenantId', job.tenant)
  end
  if worker ~= '' then
    set('worker', worker)
  end
  call('HSET', record, unpack(fields))
  local data = (mode == 'd' or f[13]) and call('HGET', record, 'data') or false
  tell(job, 'RUNNING')
  event('active', job.id, 'prev', 'waiting')
  return { 0, data, name or f[2], job.tenant or false, f[4] or '0', starts, f[6] or '0', f[7], f[8], f[9], f[10],
    f[11], f[12], f[15], f[16], f[17], f[18] }
end

local function given(text)
  return text ~= '' and text or nil
end

for i = 1, n do
  local at = 6 * i
  local token, id, record, mode = ARGV[at], ARGV[at + 1], given(ARGV[at + 2]), ARGV[at + 5]
  local host = host_of(token)
  -- Items can be large, and are not read again where it can be helped.
  local is_held = call('HEXISTS', K .. ':claims:' .. host, token) == 1
  local holder = is_held and record and call('HGET', RUNNING, record)
  if not is_held then
    answers[i] = { 1 }
  elseif holder and holder ~= token and call('ZSCORE', locks_of(host_of(holder)), holder) then
    -- Should its end never be seen here, it comes by itself.
    local item, twins = held(host, token).item, K .. ':twins:' .. record
    call('LPUSH', twins, item)
    call('PEXPIRE', twins, ARGV[3] * 4)
    later(item, string.format('%.0f', now + ARGV[3]))
    let_go(host, token, { item = item })
    answers[i] = { 2 }
  else
    local job = { id = id, record = record, tenant = given(ARGV[at + 3]) }
    if record then
      answers[i] = start(host, token, job, given(ARGV[at + 4]), mode)
    else
      hold(host, token, job)
      answers[i] = { 3, '' }
    end
  end
end
return { answers, untold }
