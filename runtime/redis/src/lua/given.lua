-- Module: reads jobs that are to be made from ARGV.
local M = {}

local function has(text, letter)
  return string.find(text, letter, 1, true) ~= nil
end

-- The job whose parts begin at ARGV[at], and where those of the next one begin:
--   flags, id or '', name, data, opts (JSON), timestamp ms, delay ms, priority
--   flags 'p': followed by parent key, parent (JSON)
--   flags 'd': followed by deduplication id, ttl ms or '', modes of 'e' extend, 'r' replace, 'k' keep last,
--     's' reschedule
--   flags 'l': lifo
--   flags 'c': it waits for children
function M.job(at)
  local flags = ARGV[at]
  local j = {
    custom = ARGV[at + 1], name = ARGV[at + 2], data = ARGV[at + 3], opts = ARGV[at + 4],
    timestamp = ARGV[at + 5], delay = ARGV[at + 6], priority = ARGV[at + 7],
  }
  at = at + 8
  if flags == '' then
    return j, at
  end
  j.lifo, j.waits = has(flags, 'l'), has(flags, 'c')
  if has(flags, 'p') then
    j.parent, j.parent_json = ARGV[at], ARGV[at + 1]
    at = at + 2
  end
  if has(flags, 'd') then
    local modes = ARGV[at + 2]
    j.dedup = { id = ARGV[at], ttl = tonumber(ARGV[at + 1]), extend = has(modes, 'e'), replace = has(modes, 'r'),
      keep = has(modes, 'k'), reschedule = has(modes, 's') }
    at = at + 3
  end
  return j, at
end

return M
