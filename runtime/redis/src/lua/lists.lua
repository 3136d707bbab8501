-- Module: moves a whole list behind another, on the side that runs first, without losing either.
local M = {}

function M.move(from, to)
  if call('EXISTS', to) == 0 then
    call('RENAME', from, to)
    return
  end
  local ids = call('LRANGE', from, 0, -1)
  for first = 1, #ids, 5000 do
    call('RPUSH', to, unpack(ids, first, math.min(first + 4999, #ids)))
  end
  call('DEL', from)
end

return M
