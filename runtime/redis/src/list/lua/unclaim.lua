-- Gives back the items of a claim that was never answered: nobody runs them.
-- KEYS[1]  the list
-- ARGV[1]  the channel of updates
-- ARGV[2]  host; [3] number of the claim's first token; [4] how many tokens it had
-- Returns how many came back.
local host, first, count = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local back = 0
go_on_when_full()
for n = first + count - 1, first, -1 do
  local token = host .. ':' .. string.format('%.0f', n)
  local job = held(host, token)
  if job then
    call('RPUSH', K, job.item)
    if job.record and try('HGET', job.record, 'status') == 'RUNNING' then
      note(job.record, 'status', 'RETRYING')
      tell(job, 'RETRYING')
      event('waiting', job.id, 'prev', 'active')
    end
    let_go(host, token, job)
    back = back + 1
  end
end
return back
