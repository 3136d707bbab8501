-- Sets or lifts a limit of the queue, and wakes a worker where jobs wait that may start now.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  'concurrency': [2] jobs, or '' to lift it
--          'rate':        [2] starts, or '' to lift it; [3] their window, ms
--          'rest':        [2] ms, or '' to end it
local kind, value = ARGV[1], ARGV[2]
local limiter = P .. 'limiter'
local function rests()
  return (tonumber(call('GET', limiter)) or 0) >= 9007199254740991
end
if kind == 'concurrency' and value == '' then
  call('HDEL', KEYS[1], 'concurrency')
elseif kind == 'concurrency' then
  call('HSET', KEYS[1], 'concurrency', value)
elseif kind == 'rate' and value == '' then
  call('HDEL', KEYS[1], 'max', 'duration')
  if not rests() then
    call('DEL', limiter)
  end
elseif kind == 'rate' then
  call('HSET', KEYS[1], 'max', value, 'duration', ARGV[3])
  -- A window of an hour must not outlast the change to one of a second.
  if not rests() and call('PTTL', limiter) > tonumber(ARGV[3]) then
    call('PEXPIRE', limiter, ARGV[3])
  end
elseif value == '' then
  call('DEL', limiter)
else
  call('SET', limiter, '9007199254740991', 'PX', value)
end
if kind ~= 'rest' or value == '' then
  local q = lib.queues.open(P)
  q.pushed = call('EXISTS', P .. 'wait', P .. 'prioritized') > 0
  lib.queues.settle()
end
return 0
