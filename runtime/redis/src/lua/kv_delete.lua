-- Removes a value of a bucket.
-- KEYS[1]  the values by key; [2] the keys by when they were made
-- ARGV[1]  the key
-- Returns how many there were: 0 or 1.
call('ZREM', KEYS[2], ARGV[1])
return call('HDEL', KEYS[1], ARGV[1])
