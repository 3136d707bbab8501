-- Makes the next jobs of schedulers whose pending jobs were just given out. A job that is not the pending one any more
-- (it is tried again, or was recovered) makes none, so repeating this call changes nothing.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  now, ms; [2] how many, each with
--   scheduler, id of the job given out, flags, slot ms or '', distance ms or '', shift ms or '',
--   prefix of the next job's id as JSON without the closing quote, options (JSON, not closed), priority, fault
--   flags 'o': what may be an old repeatable job, which is one when its record has no count; 'l': lifo
--   slot: of a cron pattern, and of an old repeatable job; distance: where the record has none
--   fault: why none can be made, or ''
-- Returns for each due time of the job made, ms, or '', and why none could be made or ''.
local now, n = tonumber(ARGV[1]), tonumber(ARGV[2])
local text = lib.slots.text
local q = lib.queues.open(P)
local made = false

local function has(flags, letter)
  return string.find(flags, letter, 1, true) ~= nil
end

local function iterate(at)
  local rjk, producer, flags = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local slot, every, shift = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local prev = call('ZSCORE', P .. 'repeat', rjk)
  if not prev then
    return '', ''
  end
  prev = tonumber(prev)
  local record = P .. 'repeat:' .. rjk
  local r = call('HMGET', record, 'name', 'data', 'every', 'offset', 'ic')
  local old = has(flags, 'o') and not r[5]
  local prefix = old and string.match(producer, '^(.*:)') or 'repeat:' .. rjk .. ':'
  if not prefix or producer ~= prefix .. text(prev) then
    return '', ''
  end
  if ARGV[at + 9] ~= '' then
    return '', ARGV[at + 9]
  end
  if not old then
    shift = nil
    every = tonumber(r[3]) or every
    if every and every > 0 then
      slot = lib.slots.following(prev, every, tonumber(r[4]), now)
    end
  end
  if not slot then
    return '', 'neither the job nor the scheduler says when'
  end
  local id = prefix .. text(slot)
  if call('EXISTS', P .. id) == 1 then
    lib.queues.event(q, 'duplicated', 'jobId', id)
    return '', 'job "' .. id .. '" exists already; remove it and set the scheduler again'
  end
  local own = call('HMGET', P .. producer, 'name', 'data')
  if not old and not r[5] and not r[2] then
    -- A record that counts from now on has the payload, too.
    call('HSET', record, 'data', own[2] or '{}')
  end
  lib.slots.make(q, {
    rjk = rjk, prefix = prefix, prefix_json = ARGV[at + 6], name = r[1] or own[1] or '', data = r[2] or own[2] or '{}',
    opts = ARGV[at + 7], priority = ARGV[at + 8], lifo = has(flags, 'l'), shift = shift,
  }, slot, now)
  made = true
  call('ZADD', P .. 'repeat', text(slot), rjk)
  if not old then
    call('HINCRBY', record, 'ic', 1)
    call('HSET', P .. producer, 'nrjid', id)
  end
  return text(slot + (shift or 0)), ''
end

local reply = {}
for i = 1, n do
  local ok, due, fault = pcall(iterate, 3 + (i - 1) * 10)
  if not ok then
    due, fault = '', type(due) == 'table' and due.err or tostring(due)
  end
  reply[#reply + 1] = due
  reply[#reply + 1] = fault
end
if made then
  lib.queues.trim(q)
end
lib.queues.settle()
return reply
