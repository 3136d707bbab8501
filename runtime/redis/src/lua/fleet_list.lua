-- Reads all documents of a folder.
-- KEYS[1 .. 3]  see fleet.lua
-- Returns name, revision, content, name, ...
local all, found = call('HGETALL', KEYS[1]), {}
for i = 1, #all, 2 do
  local revision, content = lib.fleet.parse(all[i], all[i + 1])
  if revision then
    local n = #found
    found[n + 1], found[n + 2], found[n + 3] = all[i], revision, content
  end
end
return found
