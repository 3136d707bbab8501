-- The limits that hold for all workers of the queue.
-- KEYS[1]  the queue's meta key
-- Returns { paused, concurrency, max, window in ms, rest in ms }; '' where there is none, rest 0 when there is none.
local meta = call('HMGET', KEYS[1], 'paused', 'concurrency', 'max', 'duration')
local limiter = P .. 'limiter'
local started = tonumber(call('GET', limiter)) or 0
local max = meta[4] and tonumber(meta[3])
local rest = 0
if started >= 9007199254740991 or (max and started >= max) then
  rest = math.max(call('PTTL', limiter), 0)
end
return { meta[1] or '', meta[2] or '', meta[3] or '', meta[4] or '', rest }
