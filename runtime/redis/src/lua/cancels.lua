-- Module: requests to end running jobs of the call's queue.
-- A hash leads from the job's id to the attempt that is meant: `<token of its lock> <starts> <ms of its start>`. A token is
-- never used again, so that neither a later attempt nor a later job of the same id is hit. The key is of a form that no
-- job's can have, and goes by itself.
local M = {}

-- No attempt is asked to end for longer without its host asking.
local STAYS = 600000
local KEY = P .. 'jobcell:cancel'

M.reason = 'the job was cancelled'

function M.value(token, starts, at)
  return token .. ' ' .. (starts or '0') .. ' ' .. (at or '0')
end

-- Asks for the end of the attempt that holds this lock.
function M.ask(id, token, starts, at)
  -- Those of attempts that have ended go, so that it holds no more than run. An attempt whose lock is gone has not ended
  -- while its job stands among the active ones as it was started: whoever recovers it is to find the request.
  local known = call('HGETALL', KEY)
  for i = 1, #known, 2 do
    local other = P .. known[i]
    local lock = redis.pcall('GET', other .. ':lock')
    local stays
    if type(lock) == 'string' then
      stays = string.sub(known[i + 1], 1, #lock + 1) == lock .. ' '
    else
      local start = redis.pcall('HMGET', other, 'ats', 'processedOn')
      stays = not start.err and M.is_for_start(known[i], start[1], start[2]) and call('LPOS', P .. 'active', known[i])
    end
    if not stays then
      call('HDEL', KEY, known[i])
    end
  end
  call('HSET', KEY, id, M.value(token, starts, at))
  local holds = math.max(call('PTTL', P .. id .. ':lock'), call('PTTL', KEY), STAYS)
  call('PEXPIRE', KEY, string.format('%.0f', holds))
end

-- Whether the attempt with this lock was to end. What else has the key is no request.
function M.is_for(id, token)
  local value = redis.pcall('HGET', KEY, id)
  return type(value) == 'string' and string.sub(value, 1, #token + 1) == token .. ' '
end

-- The same of one whose lock is gone.
function M.is_for_start(id, starts, at)
  local value = redis.pcall('HGET', KEY, id)
  local ends = ' ' .. (starts or '0') .. ' ' .. (at or '0')
  return type(value) == 'string' and string.sub(value, -#ends) == ends
end

-- Whether there may be a request at all: most queues have none, and then a claim asks for none.
function M.any()
  return call('PTTL', KEY) > 0
end

-- Whoever takes the job next fails it.
function M.defer(job, id)
  call('HSET', job, 'defa', M.reason)
  redis.pcall('HDEL', KEY, id)
end

return M
