-- Module: how many finished jobs of the call's queue stay.
local M = {}

local function remove(key, ids)
  for first = 1, #ids, 5000 do
    call('ZREM', key, unpack(ids, first, math.min(first + 4999, #ids)))
  end
  for _, id in ipairs(ids) do
    local job = P .. id
    -- Where something else has the job's key there is no parent; what is in the way goes with the id.
    local parent = redis.pcall('HGET', job, 'parentKey')
    if type(parent) == 'string' then
      pcall(lib.family.detach, job, parent, false)
    end
    lib.family.drop(job)
  end
end

-- `policy` is `<count>,<age in s>,<limit>`, any part may be empty. After each of the `ends` that share it, at most
-- `limit` (default 1000) are removed by each rule, the oldest by count first; the rest goes with the next calls.
function M.apply(set, policy, now, ends)
  local count, age, limit = string.match(policy, '^(%d*),(%d*),(%d*)$')
  local key = P .. set
  limit = math.min((tonumber(limit) or 1000) * ends, 5000)
  if age ~= '' then
    remove(key, call('ZREVRANGEBYSCORE', key, now - tonumber(age) * 1000, 0, 'LIMIT', 0, limit))
  end
  if count ~= '' then
    local excess = math.min(call('ZCARD', key) - tonumber(count), limit)
    if excess > 0 then
      -- As BullMQ does, the newest of them first: parents that were waiting for them run in that order.
      remove(key, call('ZREVRANGE', key, -excess, -1))
    end
  end
end

return M
