-- Adds a tree of jobs, whole or not at all: nothing is written before every job is known to fit.
--
-- KEYS[1]  the meta key of the topmost job's queue; then those of the other queues. On a cluster all are in one slot
-- ARGV[1]  now, ms
-- ARGV[2]  number of jobs
-- then for each, parents before their children: which of KEYS is its queue's, then its parts as given.lua lists them,
-- with an id and, below the topmost, with its parent
--
-- Returns code, id for each: 0 new, 1 duplicate of this id, 2 deduplicated in favour of this id; or nothing but one
-- code and the place of the job it is about: -5 its parent does not exist, -7 it has another parent, which exists,
-- -12 its parent is below it.
local now, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local queues, jobs = {}, {}

for i, key in ipairs(KEYS) do
  queues[i] = lib.queues.open(string.sub(key, 1, -5))
  local fault = lib.queues.check(queues[i])
  if fault then
    return redis.error_reply(fault)
  end
end

local at = 3
for i = 1, count do
  local q = queues[tonumber(ARGV[at])]
  local j
  j, at = lib.given.job(at + 1)
  j.id, j.q = j.custom, q
  j.key = q.prefix .. j.id
  jobs[i] = j
end

-- The parents that jobs are about to have, as if they had been written; false is none.
local parents = {}
for i, j in ipairs(jobs) do
  if i == 1 and j.parent and call('EXISTS', j.parent) == 0 then
    return { -5, i }
  end
  local stored = parents[j.key]
  if stored == nil and call('EXISTS', j.key) == 1 then
    stored = call('HGET', j.key, 'parentKey')
  end
  if stored == nil then
    parents[j.key] = j.parent or false
  elseif j.parent then
    if stored and stored ~= j.parent and (parents[stored] ~= nil or call('EXISTS', stored) == 1) then
      return { -7, i }
    end
    if lib.family.below(j.parent, j.key, parents) then
      return { -12, i }
    end
    parents[j.key] = j.parent
  end
end

local function add(j)
  call('INCR', j.q.prefix .. 'id')
  if call('EXISTS', j.key) == 1 then
    return lib.family.adopt(j.q, j, now, true), j.id
  end
  if j.dedup then
    local owner = lib.dedup.admit(j.q, j, j.id, j.dedup)
    if owner then
      return 2, owner
    end
    j.deid = j.dedup.id
  end
  lib.jobs.store(j.q, j)
  return 0, j.id
end

local reply = {}
for i, j in ipairs(jobs) do
  reply[2 * i - 1], reply[2 * i] = add(j)
end
-- Only now, when all of its children are there: they may all be done already, or none may have been added.
for _, j in ipairs(jobs) do
  if j.waits then
    lib.family.release_if_done(j.key, now, j.q.prefix, j.id)
  end
end
if jobs[1].parent and reply[1] == 1 then
  lib.family.release_if_done(jobs[1].parent, now, lib.family.place(jobs[1].parent, jobs[1].parent_json))
end
for _, q in ipairs(queues) do
  lib.queues.trim(q)
end
lib.queues.settle()
return reply
