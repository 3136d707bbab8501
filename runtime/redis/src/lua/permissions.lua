-- Which of these commands this user may not run. Changes nothing.
--
-- Each command comes with all its arguments: Redis 7.0 reads past the end of what it is given when a command whose keys
-- depend on its arguments comes without them, and dies.
--
-- KEYS[1]  -
-- ARGV[…]  for each command: the number of its words, then the words
--
-- Returns the places of those that are not allowed, counted from 1; nothing at all where Redis cannot tell (before 7).
if not redis.acl_check_cmd then
  return false
end
local missing, place, at = {}, 0, 1
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  place = place + 1
  -- What the server does not know at all nobody can be allowed.
  local known, allowed = pcall(redis.acl_check_cmd, unpack(ARGV, at + 1, at + words))
  if known and not allowed then
    missing[#missing + 1] = place
  end
  at = at + 1 + words
end
return missing
