-- Sets a value of a bucket when the one there is still the one that was seen.
-- KEYS[1]  the values by key; [2] the keys by when they were made
-- ARGV[1]  the key; [2] the SHA-1 of what was seen, or '' when there was nothing; [3] the new value
-- Returns 1 when it was set, else 0.
local held = call('HGET', KEYS[1], ARGV[1])
if (held and redis.sha1hex(held) or '') ~= ARGV[2] then
  return 0
end
call('HSET', KEYS[1], ARGV[1], ARGV[3])
if not held then
  lib.bucket.made(ARGV[1])
end
return 1
