-- Gives a delayed job another delay.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] the delay, ms; [3] now, ms
-- Returns 0; -1 no such job; -3 not delayed.
local id = ARGV[1]
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
if not call('ZSCORE', P .. 'delayed', id) then
  return -3
end
local q = lib.queues.open(P)
call('HSET', job, 'delay', ARGV[2])
lib.queues.delay(q, id, tonumber(ARGV[3]) + tonumber(ARGV[2]))
lib.queues.trim(q)
lib.queues.settle()
return 0
