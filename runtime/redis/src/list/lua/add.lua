-- Adds envelopes, in order.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  number of jobs, n; [3 ..] n jobs, each
--   flags, id, item, record, due ms or '', number of fields, field, value, ...
--   flags  'l' in front, 'c' the id was chosen; the first field is the name
-- Returns per job 0 added, 1 the same waits or runs already; text: why the record cannot be written, and no more.
local n, at = tonumber(ARGV[2]), 3
local answers = {}
for i = 1, n do
  local flags, id, item, record, due = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local fields = tonumber(ARGV[at + 5])
  local f = try('HMGET', record, 'status', 'expiresAt')
  if f.err then
    answers[i] = f.err
    break
  end
  local chosen = string.find(flags, 'c', 1, true)
  local runs = call('HEXISTS', RUNNING, record) == 1
  if chosen and (runs or (f[1] and (call('LPOS', K, item) or call('ZSCORE', DELAYED, item)))) then
    answers[i] = 1
  else
    if not runs and f[1] ~= 'RETRYING' then
      if call('EXISTS', record) == 0 then
        call('HSET', record, 'madeBy', 'jobcell')
      end
      call('HDEL', record, 'result', 'error', 'trace', 'progress', 'failing', 'finishedAt', 'startedAt', 'attempts',
        'starts', 'stalls', 'dueAt', 'delay', 'updated', 'expiresAt')
      if f[2] then
        call('PERSIST', record)
      end
      call('HSET', record, 'status', 'WAITING', unpack(ARGV, at + 6, at + 5 + 2 * fields))
      if due ~= '' then
        call('HSET', record, 'dueAt', due)
      end
    end
    event('added', id, 'name', ARGV[at + 7])
    if due ~= '' then
      later(item, due)
      event('delayed', id, 'delay', due)
    else
      call(string.find(flags, 'l', 1, true) and 'RPUSH' or 'LPUSH', K, item)
      event('waiting', id)
    end
    answers[i] = 0
  end
  at = at + 6 + 2 * fields
end
return answers
