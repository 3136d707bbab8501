-- Module: finished jobs per minute, the newest first, of the call's queue.
local M = {}

function M.count(kind, n, now, minutes)
  local key = P .. 'metrics:' .. kind
  local before = call('HINCRBY', key, 'count', n) - n
  local prev = call('HMGET', key, 'prevTS', 'prevCount')
  local passed = prev[1] and math.floor(now / 60000) - math.floor(tonumber(prev[1]) / 60000)
  if passed and passed <= 0 then
    return
  end
  local stamp = string.format('%.0f', now)
  if not passed then
    call('HSET', key, 'prevTS', stamp, 'prevCount', 0)
    return
  end
  passed = math.min(passed, minutes)
  local points = { before - (tonumber(prev[2]) or 0) }
  for i = 2, passed do
    points[i] = 0
  end
  for first = 1, #points, 5000 do
    call('LPUSH', key .. ':data', unpack(points, first, math.min(first + 4999, #points)))
  end
  call('LTRIM', key .. ':data', 0, minutes - 1)
  call('HSET', key, 'prevCount', before, 'prevTS', stamp)
end

return M
