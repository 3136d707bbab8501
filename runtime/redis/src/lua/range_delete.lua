-- Removes a key that other programs use too.
-- KEYS[1]  the key
-- Returns how many there were, 0 or 1, or an error where something else than text stands there.
local misfit = lib.range.misfit()
if misfit then
  return misfit
end
return call('DEL', KEYS[1])
