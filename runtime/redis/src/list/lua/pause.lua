-- Stops or starts giving out items.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  'paused' or 'resumed'
-- Returns nothing.
if ARGV[2] == 'paused' then
  call('SET', K .. ':paused', '1')
else
  call('DEL', K .. ':paused')
end
try('XADD', K .. ':events', 'MAXLEN', '~', '1000', '*', 'event', ARGV[2])
return false
