-- Takes items that wait off the queue.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  'waiting' or 'delayed'; [3] how many at most
-- Returns how many went, and the items, each once.
if ARGV[2] == 'waiting' then
  local items = call('LPOP', K, ARGV[3]) or {}
  return { #items, items }
end
local count, items = 0, {}
local scored = call('ZPOPMIN', DELAYED, ARGV[3])
for i = 1, #scored, 2 do
  items[#items + 1] = scored[i]
  count = count + 1 + (tonumber(call('HGET', COPIES, scored[i])) or 0)
  call('HDEL', COPIES, scored[i])
end
return { count, items }
