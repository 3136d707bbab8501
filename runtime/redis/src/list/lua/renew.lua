-- Renews locks that still hold.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  lock, ms; [3 ..] token, id of its job, token, ...
-- Returns the places, from 0, of the jobs whose lock is gone.
go_on_when_full()
local t = clock()
local holds = string.format('%.0f', t + ARGV[2])
local hosts, lost = {}, {}
for i = 3, #ARGV, 2 do
  local token = ARGV[i]
  local host = host_of(token)
  local score = call('ZSCORE', locks_of(host), token)
  local mine = score and tonumber(score) > t
    and call('HGET', K .. ':claims:' .. host, token .. '/id') == ARGV[i + 1]
  if mine then
    call('ZADD', locks_of(host), holds, token)
    hosts[host] = true
  else
    lost[#lost + 1] = (i - 3) / 2
  end
end
for host in pairs(hosts) do
  call('SADD', K .. ':hosts', host)
  beat(host)
end
return lost
