-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] the new payload
-- Returns 0, or -1 when there is no such job.
local job = P .. ARGV[1]
if call('HEXISTS', job, 'name') == 0 then
  return -1
end
call('HSET', job, 'data', ARGV[2])
return 0
