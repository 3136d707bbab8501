-- Removes a scheduler and its pending job where that is delayed. One that is due or runs goes on.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id of the scheduler
-- Returns 1; 0 when there is none.
local id = ARGV[1]
local slot = call('ZSCORE', P .. 'repeat', id)
if not slot then
  return call('DEL', P .. 'repeat:' .. id)
end
local q = lib.queues.open(P)
local pending = 'repeat:' .. id .. ':' .. lib.slots.text(tonumber(slot))
if call('ZREM', P .. 'delayed', pending) == 1 then
  lib.family.disown(P, pending, call('HGET', P .. pending, 'deid'))
  lib.family.drop(P .. pending)
  lib.queues.event(q, 'removed', 'jobId', pending, 'prev', 'delayed')
  lib.queues.trim(q)
end
call('ZREM', P .. 'repeat', id)
call('DEL', P .. 'repeat:' .. id)
return 1
