-- Renews locks that are still held.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  lock, ms; ARGV[2] number of jobs, n; then n ids, then n tokens
-- Returns the ids whose lock is gone or another's.
local n = tonumber(ARGV[2])
local locks, kept, lost = {}, {}, {}
for i = 1, n do
  locks[i] = P .. ARGV[2 + i] .. ':lock'
end
local held = call('MGET', unpack(locks))
for i = 1, n do
  local id = ARGV[2 + i]
  if held[i] == ARGV[2 + n + i] then
    call('PEXPIRE', locks[i], ARGV[1])
    kept[#kept + 1] = id
  else
    lost[#lost + 1] = id
  end
end
if #kept > 0 then
  call('SREM', P .. 'stalled', unpack(kept))
end
return lost
