-- Writes what a running job says, or somebody says of it.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  record; [3] id; [4] 'progress', 'data' or 'logs'; [5] the value, or log lines kept or ''; [6 ..] log lines
-- Returns -1 when there is no such record, else how many log lines it has, or 0.
local record = ARGV[2]
if call('EXISTS', record) == 0 then
  return -1
end
if ARGV[4] == 'progress' then
  call('HSET', record, 'progress', ARGV[5])
  event('progress', ARGV[3], 'data', ARGV[5])
elseif ARGV[4] == 'data' then
  call('HSET', record, 'data', ARGV[5], 'updated', '1')
else
  local logs = record .. ':logs'
  for first = 6, #ARGV, 1000 do
    call('RPUSH', logs, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  if ARGV[5] ~= '' then
    call('LTRIM', logs, '-' .. ARGV[5], '-1')
  end
  return call('LLEN', logs)
end
return 0
