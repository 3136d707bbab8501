-- Module: what an attempt said besides its outcome. See the record's layout in `finish.lua`.
local M = {}

function M.write(job, id, at)
  local flags, keep, lines = ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  at = at + 4
  if string.find(flags, 'p', 1, true) then
    call('HSET', job, 'progress', ARGV[at])
    call('XADD', P .. 'events', '*', 'event', 'progress', 'jobId', id, 'data', ARGV[at])
    at = at + 1
  end
  if string.find(flags, 'd', 1, true) then
    call('HSET', job, 'data', ARGV[at])
    at = at + 1
  end
  for first = at, at + lines - 1, 5000 do
    call('RPUSH', job .. ':logs', unpack(ARGV, first, math.min(first + 4999, at + lines - 1)))
  end
  if lines > 0 and keep ~= '' then
    call('LTRIM', job .. ':logs', -tonumber(keep), -1)
  end
end

return M
