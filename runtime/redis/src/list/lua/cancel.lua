-- Asks for the end of a job that runs.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  record
-- Returns 1, or 0 when it does not run any more.
local token = call('HGET', RUNNING, ARGV[2])
if not token or not held(host_of(token), token) then
  return 0
end
call('HSET', K .. ':claims:' .. host_of(token), token .. '/cancel', '1')
return 1
