-- Reads a document.
-- KEYS[1 .. 3]  see fleet.lua
-- ARGV[1]  its name
-- Returns its revision and content, or nothing.
local revision, content = lib.fleet.read(ARGV[1])
return revision and { revision, content } or {}
