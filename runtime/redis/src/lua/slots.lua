-- Module: when the jobs of a scheduler run, and where its pending job is, in the call's queue.
local M = {}

function M.text(n)
  return string.format('%.0f', n)
end

-- The first slot to come of those that lie `offset` into each distance.
function M.aligned(every, offset, now)
  local slot = math.floor(now / every) * every + offset
  if slot <= now then
    slot = slot + every
  end
  return slot
end

-- The slot after `prev`; where it has gone by already, the first to come.
function M.following(prev, every, offset, now)
  local slot = prev + every
  if slot >= now then
    return slot
  end
  return M.aligned(every, offset or prev % every, now)
end

-- Where a job waits to be started for the first time or again; nil when it does not.
function M.place(id)
  for _, set in ipairs({ 'delayed', 'prioritized' }) do
    if call('ZSCORE', P .. set, id) then
      return set
    end
  end
  for _, list in ipairs({ 'wait', 'paused' }) do
    if call('LPOS', P .. list, id) then
      return list
    end
  end
end

function M.take_out(place, id)
  if place == 'wait' or place == 'paused' then
    call('LREM', P .. place, 1, id)
  else
    call('ZREM', P .. place, id)
  end
end

-- Makes the job of a slot. `j`: rjk, prefix of its id and the same as JSON, name, data, opts (JSON, not closed),
-- priority, lifo; `shift` in ms where it runs later than its slot.
function M.make(q, j, slot, now)
  local id = j.prefix .. M.text(slot)
  local delay = M.text(math.max(slot + (j.shift or 0) - now, 0))
  call('INCR', P .. 'id')
  lib.jobs.store(q, {
    id = id, name = j.name, data = j.data, timestamp = M.text(now), delay = delay, priority = j.priority,
    opts = j.opts .. ',"delay":' .. delay .. ',"jobId":' .. j.prefix_json .. M.text(slot) .. '"}',
    lifo = j.lifo, rjk = j.rjk,
  })
  return id
end

return M
