-- Sets a value of a bucket.
-- KEYS[1]  the values by key; [2] the keys by when they were made
-- ARGV[1]  the key; [2] its value
-- Returns nothing of interest.
if call('HSET', KEYS[1], ARGV[1], ARGV[2]) == 1 then
  lib.bucket.made(ARGV[1])
end
return 1
