-- How many jobs wait at each priority.
-- KEYS[1]  the queue's meta key
-- ARGV     the priorities; 0 are those that wait without one
-- Returns a count for each.
local counts = {}
for i, priority in ipairs(ARGV) do
  if priority == '0' then
    counts[i] = call('LLEN', P .. 'wait') + call('LLEN', P .. 'paused')
  else
    local first = tonumber(priority) * 4294967296
    counts[i] = call('ZCOUNT', P .. 'prioritized', first, first + 4294967295)
  end
end
return counts
