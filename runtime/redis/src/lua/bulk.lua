-- Puts many jobs among the waiting ones at once, without a priority. Finished ones are children of their parents again.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  'delayed', 'completed' or 'failed'; [2] the greatest score, or '+inf'
-- ARGV[3]  how many to leave out at the start; [4] how many to move at most
-- Returns moved, stayed: of those moved so many are in the same set still; both 0 at the end.
local set, value = ARGV[1], nil
if set == 'failed' then
  value = 'failedReason'
elseif set == 'completed' then
  value = 'returnvalue'
end
local key = P .. set
local ids = call('ZRANGEBYSCORE', key, '-inf', ARGV[2], 'LIMIT', ARGV[3], ARGV[4])
if #ids == 0 then
  return { 0, 0 }
end
local q = lib.queues.open(P)
call('ZREM', key, unpack(ids))
for _, id in ipairs(ids) do
  if value then
    local job = P .. id
    call('HDEL', job, 'finishedOn', 'processedOn', value)
    lib.family.rejoin(job, set)
  end
  lib.queues.place(q, id, 0, false)
  lib.queues.event(q, 'waiting', 'jobId', id, 'prev', set)
end
lib.queues.trim(q)
lib.queues.settle()
-- Where a paused queue has no list that is safe they are delayed ones, due at once.
local stayed = (set == 'delayed' and not lib.queues.list(q)) and #ids or 0
return { #ids, stayed }
