-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] lines kept or ''; [3 ..] lines
-- Returns how many lines there are, or -1 when there is no such job.
local job = P .. ARGV[1]
local key = job .. ':logs'
if call('HEXISTS', job, 'name') == 0 then
  return -1
end
for first = 3, #ARGV, 5000 do
  call('RPUSH', key, unpack(ARGV, first, math.min(first + 4999, #ARGV)))
end
if ARGV[2] ~= '' then
  call('LTRIM', key, -tonumber(ARGV[2]), -1)
end
return call('LLEN', key)
