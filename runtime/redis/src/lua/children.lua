-- Reads the children of a job.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] how many of each kind at most
-- Returns pending keys; completed key, result, ...; ignored key, reason, ...; failed keys.
local job, limit = P .. ARGV[1], tonumber(ARGV[2])

-- Members come with their values where `width` is 2. A small set is always scanned as a whole.
local function scan(command, key, width)
  local found, n, cursor = {}, 0, '0'
  repeat
    local part = call(command, key, cursor, 'COUNT', 500)
    cursor = part[1]
    for _, text in ipairs(part[2]) do
      if n == limit * width then
        return found
      end
      n = n + 1
      found[n] = text
    end
  until cursor == '0'
  return found
end

return {
  scan('SSCAN', job .. ':dependencies', 1), scan('HSCAN', job .. ':processed', 2),
  scan('HSCAN', job .. ':failed', 2), call('ZRANGE', job .. ':unsuccessful', 0, limit - 1),
}
