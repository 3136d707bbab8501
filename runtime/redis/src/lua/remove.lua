-- Removes a job that is not running, in whatever state.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] '1' = with all that is below it, in whatever queue
-- Returns 1; 0 when it, or one below it that is to go as well, is running; -1 no such job; -8 it is the pending run of a
-- scheduler; -13 too much is below it.
local id, tree = ARGV[1], ARGV[2] == '1'
local job = P .. id
if call('EXISTS', job) == 0 then
  return -1
end
if lib.family.scheduled(P, id, call('HGET', job, 'rjk')) then
  return -8
end
if not tree then
  if call('EXISTS', job .. ':lock') == 1 then
    return 0
  end
  lib.trees.remove(P, id)
else
  local found = lib.trees.look(job)
  if found ~= 'free' then
    return found == 'locked' and 0 or -13
  end
  lib.trees.remove(P, id, nil, {})
end
lib.queues.settle()
return 1
