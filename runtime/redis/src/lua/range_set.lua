-- Sets the value of a key that other programs use too.
-- KEYS[1]  the key
-- ARGV[1]  the value; [2] time to live, ms, or '' to leave the key what it has
-- Returns 1, or an error where something else than text stands there.
local misfit = lib.range.misfit()
if misfit then
  return misfit
end
lib.range.set(ARGV[1], ARGV[2])
return 1
