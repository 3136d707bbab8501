-- How many items are where.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- Returns { waiting, delayed, active, dead }.
local delayed, active = call('ZCARD', DELAYED), 0
for _, more in ipairs(call('HVALS', COPIES)) do
  delayed = delayed + more
end
for _, host in ipairs(call('SMEMBERS', K .. ':hosts')) do
  active = active + call('LLEN', K .. ':processing:' .. host)
end
return { call('LLEN', K), delayed, active, call('LLEN', DEAD) }
