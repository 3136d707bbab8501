-- Makes a scheduler, or changes it: its pending job is replaced.
-- KEYS[1]   the queue's meta key
-- ARGV[1]   now, ms; [2] id of the scheduler
-- ARGV[3]   distance of its jobs, ms, or ''; [4] offset, ms, or ''; [5] no job before, ms, or ''
-- ARGV[6]   without a distance: when the first job is due, ms
-- ARGV[7]   prefix of the jobs' ids as JSON, without the closing quote
-- ARGV[8]   name, [9] data, [10] options (JSON, not closed), [11] priority, [12] '1' = lifo, of the first job
-- ARGV[13 ..]  fields of the record and their values, but for `offset` and `ic`
-- Returns 0, id and due time of the pending job; -10 another job has its id; -11 so have those of the next slots.
local FREE_SLOT_TRIES = 32
local now, id = tonumber(ARGV[1]), ARGV[2]
local every, offset, start = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local record, prefix = P .. 'repeat:' .. id, 'repeat:' .. id .. ':'
local text = lib.slots.text
local before = call('HMGET', record, 'every', 'ic', 'offset')
local prev = tonumber(call('ZSCORE', P .. 'repeat', id) or nil)
local pending = prev and prefix .. text(prev)
local place = pending and lib.slots.place(pending)

local slot
if not every then
  slot = tonumber(ARGV[6])
elseif prev and tonumber(before[1]) == every then
  slot = place and prev or lib.slots.following(prev, every, offset or 0, now)
elseif start then
  slot = math.max(start, now)
elseif offset and offset > 0 then
  slot = lib.slots.aligned(every, offset, now)
else
  slot = now
end

local function taken()
  local job = prefix .. text(slot)
  return call('EXISTS', P .. job) == 1 and not (place and job == pending)
end
local tries = 0
while taken() do
  if not every then
    return { -10, prefix .. text(slot), 0 }
  end
  tries = tries + 1
  if tries > FREE_SLOT_TRIES then
    return { -11, prefix .. text(slot), 0 }
  end
  slot = slot + every
end

if place then
  lib.slots.take_out(place, pending)
  lib.family.disown(P, pending, call('HGET', P .. pending, 'deid'))
  lib.family.drop(P .. pending)
end
call('DEL', record)
if not offset or offset == 0 then
  -- As BullMQ does it: whoever takes the place of a pending job takes over the offset, whatever the rule.
  offset = place and before[3] or (every and text(slot % every) or '0')
end
call('HSET', record, 'ic', before[2] or '1', 'offset', offset, unpack(ARGV, 13))
call('ZADD', P .. 'repeat', text(slot), id)
local q = lib.queues.open(P)
local job = lib.slots.make(q, {
  rjk = id, prefix = prefix, prefix_json = ARGV[7], name = ARGV[8], data = ARGV[9], opts = ARGV[10],
  priority = ARGV[11], lifo = ARGV[12] == '1',
}, slot, now)
lib.queues.trim(q)
lib.queues.settle()
return { 0, job, text(slot) }
