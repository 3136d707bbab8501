-- A part of the per-minute series of finished jobs.
-- KEYS[1]  the queue's meta key
-- ARGV[1]  'completed' or 'failed'; [2], [3] the first and the last point, 0 is the newest
-- Returns { jobs counted in all, when the newest point was written, points, how many points there are, the count in all
-- when the newest point was written }.
local key = P .. 'metrics:' .. ARGV[1]
local head = call('HMGET', key, 'count', 'prevTS', 'prevCount')
local data = key .. ':data'
return {
  head[1] or '0', head[2] or '0', call('LRANGE', data, ARGV[2], ARGV[3]), call('LLEN', data), head[3] or '0'
}
