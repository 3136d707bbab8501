-- Removes a document when what is there is what was expected.
-- KEYS[1 .. 3]  see fleet.lua
-- ARGV[1]  its name; [2] what is expected there: 'any', 'none' or a revision
-- Returns { 1, revision }, { 1 } when there was none, or { 0 } or { 0, revision, content } when something else is there.
local name = ARGV[1]
local revision, content = lib.fleet.read(name)
if not lib.fleet.is_expected(ARGV[2], revision) then
  return revision and { 0, revision, content } or { 0 }
end
if not revision then
  return { 1 }
end
local written = lib.fleet.change(name, function()
  call('HDEL', KEYS[1], name)
  call('ZREM', KEYS[3], name)
end)
return { 1, written }
