-- Resumes the queue. Jobs in either list are kept: those of `paused` run first.
-- KEYS[1]  the queue's meta key
local q = lib.queues.open(P)
call('HDEL', KEYS[1], 'paused')
q.paused = false
if call('EXISTS', P .. 'paused') == 1 then
  lib.lists.move(P .. 'paused', P .. 'wait')
end
q.pushed = call('EXISTS', P .. 'wait') == 1 or call('EXISTS', P .. 'prioritized') == 1
q.delayed = not q.pushed
lib.queues.settle()
lib.queues.event(q, 'resumed')
lib.queues.trim(q)
return 0
