-- Adds jobs in order. Stops at the first that cannot be stored; those before it are stored.
--
-- KEYS[1]  the queue's meta key
-- ARGV[1]  now, ms
-- ARGV[2]  number of jobs
-- then the parts of each, as given.lua lists them
--
-- Returns code, id for each: 0 new, 1 duplicate of this id, 2 deduplicated in favour of this id; after -5 (its parent
-- does not exist), -7 (it has another parent, which exists) and -12 (its parent is below it) nothing follows.
local now, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local q = lib.queues.open(P)
local counter = call('INCRBY', P .. 'id', count) - count
local reply = {}

-- Takes back what was stored of a job before something was in the way.
local function undo(j)
  if j.parent then
    redis.pcall('SREM', j.parent .. ':dependencies', P .. j.id)
  end
  for _, list in ipairs({ 'wait', 'paused' }) do
    redis.pcall('LREM', P .. list, 0, j.id)
  end
  for _, set in ipairs({ 'prioritized', 'delayed' }) do
    redis.pcall('ZREM', P .. set, j.id)
  end
  lib.family.drop(P .. j.id)
  lib.family.disown(P, j.id, j.deid)
end

local function add(j)
  if j.parent and call('EXISTS', j.parent) == 0 then
    return -5, j.id
  end
  if j.custom ~= '' and call('EXISTS', P .. j.id) == 1 then
    return lib.family.adopt(q, j, now), j.id
  end
  if j.dedup then
    local owner = lib.dedup.admit(q, j, j.id, j.dedup)
    if owner then
      return 2, owner
    end
    j.deid = j.dedup.id
  end
  local ok, fault = pcall(lib.jobs.store, q, j)
  if not ok then
    undo(j)
    error(fault, 0)
  end
  return 0, j.id
end

local at = 3
for i = 1, count do
  local j
  j, at = lib.given.job(at)
  j.id = j.custom ~= '' and j.custom or string.format('%.0f', counter + i)
  local code, id = add(j)
  reply[#reply + 1] = code
  reply[#reply + 1] = id
  if code < 0 then
    -- Numbers of jobs that were not looked at are not used up, as with jobs added one by one.
    local left = count - i + (code == -5 and 1 or 0)
    if left > 0 and call('DECRBY', P .. 'id', left) == 0 then
      call('DEL', P .. 'id')
    end
    break
  end
end
if reply[1] ~= -5 then
  lib.queues.trim(q)
end
lib.queues.settle()
return reply
