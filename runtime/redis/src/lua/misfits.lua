-- Module: what waits in the call's queue and cannot be given to a worker.
local M = {}

-- Whether this is some text in UTF-8, as ids have to be for a worker to name them. Each whole character becomes a space:
-- no byte of another kind may be left.
function M.nameable(id)
  local rest = string.gsub(id, '\224[\160-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\225-\236\238\239][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\237[\128-\159][\128-\191]', ' ')
  rest = string.gsub(rest, '\240[\144-\191][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\241-\243][\128-\191][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '\244[\128-\143][\128-\191][\128-\191]', ' ')
  rest = string.gsub(rest, '[\194-\223][\128-\191]', ' ')
  return id ~= '' and not string.find(rest, '[\128-\255]')
end

-- Why a job with this record cannot run, nil when it can; false when there is no job at all. `hash` is flat.
function M.fault(id, hash)
  local named, made = false, false
  for k = 1, #hash, 2 do
    local field = hash[k]
    named = named or field == 'name'
    -- What workers write by themselves makes no job: somebody removed it while they had it.
    made = made or field == 'data' or field == 'opts' or field == 'timestamp'
  end
  if named and M.nameable(id) then
    return nil
  elseif named then
    return id == '' and 'its id is empty' or 'its id is no text in UTF-8'
  end
  return made and 'its record has no name'
end

-- Fails such a job where it stands, so that it is seen and its parent told. It is out of `active` already.
function M.fail(id, why, now)
  local job = P .. id
  local f = call('HMGET', job, 'name', 'atm', 'parentKey', 'deid')
  lib.outcome.fail(job, id, f, 'this job cannot be run: ' .. why, '[]', '', 1, now)
  call('ZADD', P .. 'failed', string.format('%.0f', now), id)
  call('DEL', job .. ':lock')
end

return M
