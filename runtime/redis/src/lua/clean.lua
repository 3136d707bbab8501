-- Removes a part of the jobs of one place that are old enough, the oldest first. A scheduler's pending run stays, and so
-- does what is active under a lock.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  'wait', 'paused', 'active', 'prioritized', 'delayed', 'completed' or 'failed'
-- ARGV[2]  ms: finished ones go by their end, others by their last start, else by when they were made
-- ARGV[3]  how many to leave out at the start; [4] how many to look at
-- Returns the ids of the removed, and how many stayed; none and 0 at the end.
local set, before = ARGV[1], tonumber(ARGV[2])
local skip, look = tonumber(ARGV[3]), tonumber(ARGV[4])
local key = P .. set
local listed = set == 'wait' or set == 'paused' or set == 'active'
local finished = set == 'completed' or set == 'failed'
local ids
if finished then
  ids = call('ZRANGEBYSCORE', key, '-inf', ARGV[2], 'LIMIT', skip, look)
elseif listed then
  -- The right end is the oldest.
  ids = call('LRANGE', key, -skip - look, -skip - 1)
else
  ids = call('ZRANGE', key, skip, skip + look - 1)
end

local function stays(id, job, f)
  if finished then
    return false
  end
  if set == 'active' and call('EXISTS', job .. ':lock') == 1 then
    return true
  end
  local made = tonumber(f[3] or f[4] or f[5])
  return (made and made > before) or lib.family.scheduled(P, id, f[6])
end

local gone, kept = {}, 0
for i = 1, #ids do
  -- Of a list the last is the oldest.
  local at = listed and #ids + 1 - i or i
  local id = ids[at]
  local job = P .. id
  -- Where something else has the job's key, all are missing, and it goes with the id.
  local f = redis.pcall('HMGET', job, 'parentKey', 'deid', 'finishedOn', 'processedOn', 'timestamp', 'rjk')
  if stays(id, job, f) then
    kept = kept + 1
  else
    if listed then
      -- Taken out below, all at once: each by itself would walk the list from its end.
      call('LSET', key, -skip - i, '')
    else
      call('ZREM', key, id)
    end
    lib.family.detach(job, f[1], true)
    lib.family.drop(job)
    lib.family.disown(P, id, f[2])
    gone[#gone + 1] = id
  end
end
if listed and #gone > 0 then
  call('LREM', key, -#gone, '')
end
if set == 'active' and #gone > 0 then
  call('SREM', P .. 'stalled', unpack(gone))
end
if rawget(lib, 'queues') then
  lib.queues.settle()
end
return { gone, kept }
