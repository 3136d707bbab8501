-- Ends a job: at once where it waits, by a request to its host where it runs.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] now, ms; [3] which failed jobs stay, as in `finish.lua`
-- Returns where it was, '' for nowhere; 'scheduled' for the pending run of a scheduler, which stays; nil without a job.
local id, now = ARGV[1], tonumber(ARGV[2])
local job = P .. id
local f = call('HMGET', job, 'name', 'atm', 'parentKey', 'deid', 'ats', 'processedOn', 'rjk')
if not f[1] then
  return false
end
if call('LPOS', P .. 'active', id) then
  local token = call('GET', job .. ':lock')
  if token then
    lib.cancels.ask(id, token, f[5], f[6])
  else
    -- Whoever had it cannot end it any more; it is about to be recovered.
    lib.cancels.defer(job, id)
  end
  return 'active'
end
for _, set in ipairs({ 'completed', 'failed' }) do
  if call('ZSCORE', P .. set, id) then
    return set
  end
end
if lib.family.scheduled(P, id, f[7]) then
  return 'scheduled'
end
local place = lib.slots.place(id)
if place then
  lib.slots.take_out(place, id)
elseif call('ZREM', P .. 'waiting-children', id) == 1 then
  place = 'waiting-children'
else
  return ''
end
local prev = place == 'paused' and 'wait' or place
lib.outcome.end_waiting(job, id, f, lib.cancels.reason, ARGV[3], now, prev == 'wait' and 'waiting' or prev)
if ARGV[3] ~= '' and ARGV[3] ~= '0' then
  lib.retention.apply('failed', ARGV[3], now, 1)
end
lib.queues.trim(lib.queues.open(P))
lib.queues.settle()
return place
