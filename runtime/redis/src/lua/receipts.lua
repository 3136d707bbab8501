-- KEYS[1]  the queue's meta key
-- ARGV[1]  id; [2] the most that a job keeps
-- Returns the receipts of its last attempts, oldest first.
local job = P .. ARGV[1]
local made = tonumber(call('HGET', job, 'atm')) or 0
local fields, found = {}, {}
-- What attempts left whose count was begun anew stays hidden.
for n = math.max(made - tonumber(ARGV[2]) + 1, 1), made do
  fields[#fields + 1] = 'receipt:' .. string.format('%.0f', n)
end
if #fields == 0 then
  return found
end
for _, receipt in ipairs(call('HMGET', job, unpack(fields))) do
  if receipt then
    found[#found + 1] = receipt
  end
end
return found
