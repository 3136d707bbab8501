-- One round of stall recovery: what an earlier round saw active and has no lock goes back to be run; then what is
-- active now is noted for the next round.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  now, ms; [2] time between rounds, ms; [3] recoveries a job survives
-- Returns the recovered ids; none when another worker's round was less than the interval ago.
-- What stands there without an end is none of ours, and would keep everybody from recovering anything for ever.
if not call('SET', P .. 'stalled-check', ARGV[1], 'PX', ARGV[2], 'NX') then
  if call('PTTL', P .. 'stalled-check') ~= -1 then
    return {}
  end
  call('SET', P .. 'stalled-check', ARGV[1], 'PX', ARGV[2])
end
local q = lib.queues.open(P)
local recovered = {}
local suspects = call('SMEMBERS', P .. 'stalled')
call('DEL', P .. 'stalled')
for _, id in ipairs(suspects) do
  local job = P .. id
  if call('EXISTS', job .. ':lock') == 0 and call('LREM', P .. 'active', 1, id) > 0 then
    local rjk = redis.pcall('HMGET', job, 'name', 'rjk', 'ats', 'processedOn')
    if not rjk[1] and call('EXISTS', job) == 1 then
      -- No job, or one that nobody can run: whoever claims it says so.
      lib.queues.place(q, id, 0, true)
    elseif rjk[1] then
      local n = call('HINCRBY', job, 'stc', 1)
      if lib.cancels.is_for_start(id, rjk[3], rjk[4]) then
        lib.cancels.defer(job, id)
      end
      rjk = rjk[2]
      local scheduled = rjk
        and (call('EXISTS', P .. 'repeat:' .. rjk) == 1 or call('ZSCORE', P .. 'repeat', rjk))
      if n > tonumber(ARGV[3]) and not scheduled then
        call('HSET', job, 'defa', 'job stalled more than allowable limit')
      end
      lib.queues.place(q, id, 0, true)
      lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'active')
      lib.queues.event(q, 'stalled', 'jobId', id)
      recovered[#recovered + 1] = id
    end
  end
end
local running = call('LRANGE', P .. 'active', 0, -1)
for first = 1, #running, 5000 do
  call('SADD', P .. 'stalled', unpack(running, first, math.min(first + 4999, #running)))
end
lib.queues.trim(q)
lib.queues.settle()
return recovered
