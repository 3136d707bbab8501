-- Which of these this user may not do. Changes nothing.
--
-- KEYS[1]  -
-- ARGV[1]  a key that looks like those of the queues
-- ARGV[2…] commands, a subcommand behind a |
--
-- Returns the commands that are not allowed, and the key when it may not be read and written; nothing at all where
-- Redis cannot tell (before 7).
if not redis.acl_check_cmd then
  return false
end
local key, missing = ARGV[1], {}
local function may(command, ...)
  -- What the server does not know at all nobody can be allowed.
  local known, allowed = pcall(redis.acl_check_cmd, command, ...)
  return not known or allowed
end
for i = 2, #ARGV do
  local words = {}
  for word in string.gmatch(ARGV[i], '[^|]+') do
    words[#words + 1] = word
  end
  -- Without its key a command is judged by its name alone; but for this one, which Redis always takes to have one.
  if words[1] ~= 'SET' and not may(unpack(words)) then
    missing[#missing + 1] = ARGV[i]
  end
end
local known = may('GET') and may('DEL')
if known and not (may('GET', key) and may('DEL', key)) then
  missing[#missing + 1] = key
elseif known and not may('SET', key, '') then
  missing[#missing + 1] = 'SET'
end
return missing
