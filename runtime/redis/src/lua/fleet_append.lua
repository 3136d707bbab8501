-- Adds an entry to a log and forgets the oldest.
-- KEYS[1]  the log, a stream
-- ARGV[1]  the entry; [2] how many stay
-- Returns its number.
local number = lib.fleet.next(KEYS[1])
call('XADD', KEYS[1], 'MAXLEN', ARGV[2], number .. '-0', 'entry', ARGV[1])
return number
