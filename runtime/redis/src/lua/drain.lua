-- Removes a part of the jobs that wait in one place. A scheduler's pending run stays.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  'wait', 'paused', 'prioritized' or 'delayed'; [2] how many to leave out at the start; [3] how many to look at
-- Returns removed, kept; both 0 at the end.
local set, skip, limit = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local key = P .. set
local listed = set == 'wait' or set == 'paused'
local ids = call(listed and 'LRANGE' or 'ZRANGE', key, skip, skip + limit - 1)
local kept = 0
for _, id in ipairs(ids) do
  local job = P .. id
  -- Where something else has the job's key, all are missing, and it goes with the id.
  local fields = redis.pcall('HMGET', job, 'rjk', 'parentKey', 'deid')
  if lib.family.scheduled(P, id, fields[1]) then
    kept = kept + 1
  else
    -- From the start of the list, where this part is.
    call(listed and 'LREM' or 'ZREM', key, unpack(listed and { 1, id } or { id }))
    lib.family.detach(job, fields[2], true)
    lib.family.drop(job)
    lib.family.disown(P, id, fields[3])
  end
end
if rawget(lib, 'queues') then
  lib.queues.settle()
end
return { #ids - kept, kept }
