-- Gives back the jobs of a claim that was never answered: nobody runs them, and nobody else may while their locks hold.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  token prefix; [2] number of the claim's first token; [3] how many tokens it had
-- Returns the ids.
local prefix = ARGV[1] .. ':'
local first, count = tonumber(ARGV[2]), tonumber(ARGV[3])
local q = lib.queues.open(P)
local given = {}

local function lost(token)
  if not token or string.sub(token, 1, #prefix) ~= prefix then
    return false
  end
  local n = tonumber(string.sub(token, #prefix + 1))
  return n and n >= first and n < first + count
end

local running = call('LRANGE', P .. 'active', 0, -1)
for from = 1, #running, 5000 do
  local locks = {}
  for i = from, math.min(from + 4999, #running) do
    locks[#locks + 1] = P .. running[i] .. ':lock'
  end
  -- The newest is first here and goes back first, so that the oldest is the next to run.
  for i, token in ipairs(call('MGET', unpack(locks))) do
    local id = running[from + i - 1]
    if lost(token) and call('LREM', P .. 'active', 1, id) > 0 then
      call('DEL', locks[i])
      call('SREM', P .. 'stalled', id)
      local f = redis.pcall('HMGET', P .. id, 'name', 'priority')
      if f[1] then
        lib.queues.place(q, id, tonumber(f[2]) or 0, true)
        lib.queues.event(q, 'waiting', 'jobId', id, 'prev', 'active')
        given[#given + 1] = id
      end
    end
  end
end
lib.queues.trim(q)
lib.queues.settle()
return given
