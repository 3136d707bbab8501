-- What hosts share. The documents of a folder: KEYS[1] has them by name, each as '<revision> <expiry> <content>' with
-- an expiry of 0 for none; KEYS[2] is a stream whose newest id is the folder's revision, read by those who wait for a
-- change; KEYS[3] has the names of those that expire, by when.
local fleet = {}

-- The most expired documents that one write sweeps out.
local swept_max = '100'

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local function text(number)
  return string.format('%.0f', number)
end

-- Takes a document as it is stored apart. Gives nothing when there is none or it has expired.
function fleet.parse(name, held)
  if not held then
    return nil
  end
  local revision, expiry, at = string.match(held, '^(%d+) (%d+) ()')
  if not revision then
    error({ err = 'ERR what is stored as document ' .. name .. ' is none' })
  end
  if expiry ~= '0' and tonumber(expiry) <= now then
    return nil
  end
  return revision, string.sub(held, at)
end

function fleet.read(name)
  return fleet.parse(name, call('HGET', KEYS[1], name))
end

function fleet.is_expected(expected, revision)
  return expected == 'any' or expected == (revision or 'none')
end

-- A number for the next entry of a stream. It is a time where it can be, so that it was never given before, even when
-- the newest entries were lost with the server that had them.
function fleet.next(stream)
  local last = call('XREVRANGE', stream, '+', '-', 'COUNT', '1')[1]
  last = last and tonumber(string.match(last[1], '^%d+')) or 0
  return text(math.max(last + 1, now))
end

-- Adds an entry to a log, of which the newest `keep` stay. Gives its number.
function fleet.append(log, entry, keep)
  local number = fleet.next(log)
  call('XADD', log, 'MAXLEN', keep, number .. '-0', 'entry', entry)
  return number
end

-- Writes the change of a document, and then sweeps. `change` is given the number of the change.
function fleet.change(name, change)
  local revision = fleet.next(KEYS[2])
  local expired = call('ZRANGEBYSCORE', KEYS[3], '0', text(now), 'LIMIT', '0', swept_max)
  -- The first write: a server without memory refuses it, and with it the whole.
  call('XADD', KEYS[2], 'MAXLEN', '1', revision .. '-0', 'name', name)
  change(revision)
  for _, other in ipairs(expired) do
    if other ~= name then
      call('HDEL', KEYS[1], other)
      call('ZREM', KEYS[3], other)
    end
  end
  return revision
end

-- When what is written now and stays so many milliseconds expires; 0 stays 0.
function fleet.expiry(after)
  return after == '0' and after or text(now + after)
end

return fleet
