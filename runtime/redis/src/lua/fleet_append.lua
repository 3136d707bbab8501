-- Adds an entry to a log and forgets the oldest.
-- KEYS[1]  the log, a stream
-- ARGV[1]  the entry; [2] how many stay
-- Returns its number.
return lib.fleet.append(KEYS[1], ARGV[1], ARGV[2])
