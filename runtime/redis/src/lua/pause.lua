-- Pauses the queue. Where its newest producer is of BullMQ 6 or later, or the queue is paused already, waiting jobs stay
-- where they are; else they move to `paused`, where an older client looks for them on resuming.
-- KEYS[1]  the queue's meta key
local q = lib.queues.open(P)
if not q.paused then
  local major = tonumber(string.match(q.version or '', '^bullmq:(%d+)'))
  if (not major or major < 6) and call('EXISTS', P .. 'wait') == 1 then
    lib.lists.move(P .. 'wait', P .. 'paused')
  end
  call('HSET', KEYS[1], 'paused', 1)
end
call('DEL', P .. 'marker')
lib.queues.event(q, 'paused')
lib.queues.trim(q)
return 0
