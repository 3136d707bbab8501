-- Changes one item that was found, and the record of its job.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  'promote', 'retry', 'remove' or 'forget'; [3] item; [4] id; [5] record or ''
-- ARGV[6]  retry: '1' gives it all its attempts again; remove: where it is, 'waiting', 'delayed' or 'failed'
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
  forget(record, 'error', 'failing', 'startedAt', 'finishedAt', 'dueAt', 'delay')
  if ARGV[6] == '1' then
    note(record, 'attempts', '0', 'starts', '0')
  end
  event('waiting', id, 'prev', 'failed')
else
  local gone
  if ARGV[6] == 'delayed' then
    gone = sooner(item)
  else
    gone = call('LREM', ARGV[6] == 'failed' and DEAD or K, '-1', item) == 1
  end
  if not gone then
    return 0
  end
  drop()
  event('removed', id, 'prev', ARGV[6])
end
return 1
