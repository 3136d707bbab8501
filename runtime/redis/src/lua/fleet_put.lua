-- Writes a document when what is there is what was expected.
-- KEYS[1 .. 3]  see fleet.lua; [4] a log, a stream, if entries are added to it in the same step
-- ARGV[1]  its name; [2] what is expected there: 'any', 'none' or a revision
-- ARGV[3]  what it says; [4] ms until it expires, or 0; [5] how many entries stay in the log; [6 ..] the new ones
-- Returns { 1, revision }, or { 0 } or { 0, revision, content } when something else is there.
local name, expiry = ARGV[1], lib.fleet.expiry(ARGV[4])
local revision, content = lib.fleet.read(name)
if not lib.fleet.is_expected(ARGV[2], revision) then
  return revision and { 0, revision, content } or { 0 }
end
if ARGV[6] then
  -- A log that is none fails here, where nothing is written yet.
  lib.fleet.next(KEYS[4])
end
local written = lib.fleet.change(name, function(written)
  call('HSET', KEYS[1], name, written .. ' ' .. expiry .. ' ' .. ARGV[3])
  if expiry == '0' then
    call('ZREM', KEYS[3], name)
  else
    call('ZADD', KEYS[3], expiry, name)
  end
end)
for place = 6, #ARGV do
  lib.fleet.append(KEYS[4], ARGV[place], ARGV[5])
end
return { 1, written }
