-- Module: how many finished jobs of the call's queue stay.
local M = {}

local function remove(key, ids)
  if #ids == 0 then
    return
  end
  for _, id in ipairs(ids) do
    local job = P .. id
    local parent = call('HGET', job, 'parentKey')
    if parent then
      lib.family.detach(job, parent, false)
    end
    lib.family.drop(job)
  end
  call('ZREM', key, unpack(ids))
end

-- `policy` is `<count>,<age in s>,<limit>`, any part may be empty. One call removes at most `limit` (default 1000) by
-- each rule, the oldest by count first; the rest goes with the next calls.
function M.apply(set, policy, now)
  local count, age, limit = string.match(policy, '^(%d*),(%d*),(%d*)$')
  local key = P .. set
  limit = math.min(tonumber(limit) or 1000, 5000)
  if age ~= '' then
    remove(key, call('ZREVRANGEBYSCORE', key, now - tonumber(age) * 1000, 0, 'LIMIT', 0, limit))
  end
  if count ~= '' then
    local excess = math.min(call('ZCARD', key) - tonumber(count), limit)
    if excess > 0 then
      remove(key, call('ZRANGE', key, 0, excess - 1))
    end
  end
end

return M
