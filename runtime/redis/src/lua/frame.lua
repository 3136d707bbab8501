-- In front of every script.
-- KEYS[1] is always the queue's `meta` key; every other key of the queue starts with the same prefix. All of them
-- hash to one slot on a cluster when the prefix or the queue's name is in braces.
local call = redis.call
local P = string.sub(KEYS[1], 1, -5)
