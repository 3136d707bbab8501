-- Adds jobs in order. Stops at the first that cannot be stored; those before it are stored.
--
-- KEYS[1]  the queue's meta key
-- ARGV[1]  now, ms
-- ARGV[2]  number of jobs
-- then for each: flags, id or '', name, data, opts (JSON), timestamp ms, delay ms, priority
--   flags 'p': followed by parent key, parent (JSON)
--   flags 'd': followed by deduplication id, ttl ms or '', modes of 'e' extend, 'r' replace, 'k' keep last
--   flags 'l': lifo
--
-- Returns code, id for each: 0 new, 1 duplicate of this id, 2 deduplicated in favour of this id; after -5 (its parent
-- does not exist) and -7 (it has another parent, which exists) nothing follows.
local now, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local q = lib.queues.open(P)
local counter = call('INCRBY', P .. 'id', count) - count
local reply = {}

local function has(text, letter)
  return string.find(text, letter, 1, true) ~= nil
end

-- The id is taken. A child that is there already joins the parent it is added to.
local function duplicate(j)
  local key = P .. j.id
  if j.parent then
    local stored = call('HGET', key, 'parentKey')
    if stored and stored ~= j.parent and call('EXISTS', stored) == 1 then
      return -7
    end
    if call('ZSCORE', P .. 'completed', j.id) then
      lib.family.adopt_result(j.parent, key, call('HGET', key, 'returnvalue') or 'null', now)
    else
      call('SADD', j.parent .. ':dependencies', key)
    end
    call('HSET', key, 'parentKey', j.parent, 'parent', j.parent_json)
  end
  lib.queues.event(q, 'duplicated', 'jobId', j.id)
  return 1
end

local function add(j, d)
  if j.parent and call('EXISTS', j.parent) == 0 then
    return -5, j.id
  end
  if j.custom ~= '' and call('EXISTS', P .. j.id) == 1 then
    return duplicate(j), j.id
  end
  if d then
    local owner = lib.dedup.admit(q, j, j.id, d)
    if owner then
      return 2, owner
    end
    j.deid = d.id
  end
  lib.jobs.store(q, j)
  return 0, j.id
end

local at = 3
for i = 1, count do
  local flags, custom = ARGV[at], ARGV[at + 1]
  local j = {
    custom = custom, id = custom ~= '' and custom or string.format('%.0f', counter + i),
    name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
    timestamp = ARGV[at + 5], delay = ARGV[at + 6], priority = ARGV[at + 7],
  }
  at = at + 8
  local d = nil
  if flags ~= '' then
    j.lifo = has(flags, 'l')
    if has(flags, 'p') then
      j.parent, j.parent_json = ARGV[at], ARGV[at + 1]
      at = at + 2
    end
    if has(flags, 'd') then
      local modes = ARGV[at + 2]
      d = { id = ARGV[at], ttl = tonumber(ARGV[at + 1]), extend = has(modes, 'e'), replace = has(modes, 'r'),
        keep = has(modes, 'k') }
      at = at + 3
    end
  end
  local code, id = add(j, d)
  reply[#reply + 1] = code
  reply[#reply + 1] = id
  if code < 0 then
    break
  end
end
lib.queues.trim(q)
lib.queues.settle()
return reply
