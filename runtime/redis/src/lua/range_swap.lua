-- Sets the value of a key that other programs use too, when the one there is still the one that was seen.
-- KEYS[1]  the key
-- ARGV[1]  the SHA-1 of what was seen, or '' when there was nothing; [2] the new value; [3] as in range_set.lua
-- Returns 1 when it was set, else 0, or an error where something else than text stands there.
local misfit = lib.range.misfit()
if misfit then
  return misfit
end
local held = call('GET', KEYS[1])
if (held and redis.sha1hex(held) or '') ~= ARGV[1] then
  return 0
end
lib.range.set(ARGV[2], ARGV[3])
return 1
