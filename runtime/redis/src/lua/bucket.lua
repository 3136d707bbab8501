-- The two keys of a bucket: KEYS[1] has the values by key, KEYS[2] the keys by when they were made.
local bucket = {}

-- Numbers a key that is new, after all others.
function bucket.made(key)
  local last = call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')
  call('ZADD', KEYS[2], (tonumber(last[2]) or 0) + 1, key)
end

return bucket
