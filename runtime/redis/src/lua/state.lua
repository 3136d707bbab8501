-- KEYS[1]  the queue's meta key
-- ARGV[1]  id
-- Returns the name of the set or list that the job is in, or '' when it is in none, or nil without a job.
local id = ARGV[1]
for _, set in ipairs({ 'completed', 'failed', 'delayed', 'prioritized' }) do
  if call('ZSCORE', P .. set, id) then
    return set
  end
end
for _, list in ipairs({ 'active', 'wait', 'paused' }) do
  if call('LPOS', P .. list, id) then
    return list
  end
end
if call('ZSCORE', P .. 'waiting-children', id) then
  return 'waiting-children'
end
return call('EXISTS', P .. id) == 1 and '' or false
