-- The item of a job that runs.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  record
-- Returns the item, or nothing.
local token = call('HGET', RUNNING, ARGV[2])
local job = token and held(host_of(token), token)
return job and job.item or false
