-- Adds to a counter of the cache.
-- KEYS[1]  the counter
-- ARGV[1]  how much; [2] time to live from its creation, ms, or ''
-- Returns the sum as text, for it may not fit a number of this language.
local new = redis.call('EXISTS', KEYS[1]) == 0
redis.call('INCRBY', KEYS[1], ARGV[1])
if new and ARGV[2] ~= '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return redis.call('GET', KEYS[1])
