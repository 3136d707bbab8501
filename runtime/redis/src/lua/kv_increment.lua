-- Adds to a value of a bucket.
-- KEYS[1]  the values by key; [2] the keys by when they were made
-- ARGV[1]  the key; [2] how much
-- Returns the sum as text, for it may not fit a number of this language.
local new = call('HEXISTS', KEYS[1], ARGV[1]) == 0
call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])
if new then
  lib.bucket.made(ARGV[1])
end
return call('HGET', KEYS[1], ARGV[1])
