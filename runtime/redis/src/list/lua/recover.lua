-- One round of recovery: what a host held longer than its lock, or held when it vanished, goes back to the right end.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  now, ms; [3] time between rounds, ms; [4] recoveries a job survives
-- Returns id or nil, item, id, item, ...; none when another round was less than the interval ago.
if not call('SET', K .. ':stalled-check', ARGV[2], 'PX', ARGV[3], 'NX') then
  return {}
end
local t = string.format('%.0f', clock())
local back = {}

local function number_of(token)
  return tonumber(string.match(token, '(%d+)$')) or 0
end

local function recover(host, token, job)
  call('RPUSH', K, job.item)
  local status = job.record and try('HGET', job.record, 'status')
  if status == 'RUNNING' then
    local stalls = (tonumber(call('HGET', job.record, 'stalls')) or 0) + 1
    note(job.record, 'status', 'RETRYING', 'stalls', stalls)
    if stalls > tonumber(ARGV[4]) then
      note(job.record, 'failing', 'job stalled more than allowable limit')
    end
    if job.cancel then
      note(job.record, 'failing', CANCELLED)
    end
    tell(job, 'RETRYING', 'the host that ran it vanished')
    event('waiting', job.id, 'prev', 'active')
    event('stalled', job.id)
  end
  let_go(host, token, job)
  back[#back + 1] = job.id
  back[#back + 1] = job.item
end

for _, host in ipairs(call('SMEMBERS', K .. ':hosts')) do
  local locks, processing = locks_of(host), K .. ':processing:' .. host
  local lives = call('EXISTS', K .. ':heartbeat:' .. host) == 1
  local tokens = call('ZRANGEBYSCORE', locks, '-inf', lives and t or '+inf')
  -- The one claimed first is put back last, and so is the next to be claimed.
  table.sort(tokens, function(a, b) return number_of(a) > number_of(b) end)
  for _, token in ipairs(tokens) do
    local job = held(host, token)
    if job then
      recover(host, token, job)
    else
      call('ZREM', locks, token)
    end
  end
  if not lives then
    -- Nobody knows what these were claimed for.
    local item = call('LMOVE', processing, K, 'LEFT', 'RIGHT')
    while item do
      back[#back + 1] = false
      back[#back + 1] = item
      item = call('LMOVE', processing, K, 'LEFT', 'RIGHT')
    end
    call('DEL', K .. ':claims:' .. host, locks)
    call('SREM', K .. ':hosts', host)
  end
end
return back
