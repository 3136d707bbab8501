-- Changes one item that was found, and the record of its job.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  'promote', 'retry', 'remove', 'cancel' or 'forget'; [3] item; [4] id; [5] record or ''
-- ARGV[6]  retry: '1' gives it all its attempts again; remove, cancel: where it is, 'waiting', 'delayed' or 'failed'
-- ARGV[7]  now, ms
-- Returns 1 when it was changed, 0 when it is not there any more.
local verb, item, id = ARGV[2], ARGV[3], ARGV[4]
local record = ARGV[5] ~= '' and ARGV[5] or nil

-- A record that was made here is nobody else's; any other stays with its owner.
local function drop()
  if record and call('HEXISTS', RUNNING, record) == 0 and try('HEXISTS', record, 'madeBy') == 1 then
    call('DEL', record, logs_of(record) or record)
    return 1
  end
  return 0
end

local function take()
  if ARGV[6] == 'delayed' then
    return sooner(item)
  end
  return call('LREM', ARGV[6] == 'failed' and DEAD or K, '-1', item) == 1
end

if verb == 'forget' then
  return drop()
elseif verb == 'promote' then
  if not sooner(item) then
    return 0
  end
  call('LPUSH', K, item)
  forget(record, 'dueAt', 'delay')
  event('waiting', id, 'prev', 'delayed')
elseif verb == 'retry' then
  if call('LREM', DEAD, '1', item) == 0 then
    return 0
  end
  call('LPUSH', K, item)
  note(record, 'status', 'RETRYING', 'stalls', '0')
  forget(record, 'error', 'failing', 'startedAt', 'finishedAt', 'dueAt', 'delay', 'crashes', 'digest')
  if ARGV[6] == '1' then
    note(record, 'attempts', '0', 'starts', '0')
  end
  event('waiting', id, 'prev', 'failed')
elseif verb == 'cancel' then
  -- First, because it may refuse; nothing is undone when a later command fails.
  call('LPUSH', DEAD, item)
  if not take() then
    call('LREM', DEAD, '1', item)
    return 0
  end
  local tenant = record and try('HGET', record, 'tenantId')
  note(record, 'status', 'FAILED', 'error', CANCELLED, 'finishedAt', ARGV[7])
  forget(record, 'result', 'failing', 'dueAt', 'delay', 'crashes', 'digest')
  tell({ id = id, tenant = type(tenant) == 'string' and tenant }, 'FAILED', CANCELLED)
  event('failed', id, 'failedReason', CANCELLED, 'prev', ARGV[6])
else
  if not take() then
    return 0
  end
  drop()
  event('removed', id, 'prev', ARGV[6])
end
return 1
