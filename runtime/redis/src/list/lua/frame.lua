-- In front of every script of a list queue.
-- KEYS[1]  the list. Every other key of the queue starts with it, but for the records of jobs, which are passed.
-- ARGV[1]  the channel of updates
-- What a host holds has a token each. A token is `<host>:<number>`; `<list>:locks:<host>` says until when it holds, by
-- Redis's own clock, and `<list>:claims:<host>` what it stands for: the item, and beside it, once the job is known, its
-- id, its record and its tenant, and `/cancel` once somebody wants it to end. While a job runs, `<list>:running` leads from its record to its token.
local call, try = redis.call, redis.pcall
local K = KEYS[1]
local DELAYED, COPIES, DEAD, RUNNING = K .. ':delayed', K .. ':delayed:copies', K .. ':dead', K .. ':running'
-- Why an update could not be published. Listeners are told as well as can be; no job waits for it.
local untold = ''
-- Why a job ended that somebody wanted to end.
local CANCELLED = 'the job was cancelled'

local function clock()
  local now = call('TIME')
  return now[1] * 1000 + math.floor(now[2] / 1000)
end

-- Redis that is out of memory refuses a script's first write that could take more, and none after one that could not. What
-- ends jobs, and keeps what runs running, must go on then: it makes room.
local function go_on_when_full()
  try('HDEL', RUNNING, '')
end

local function host_of(token)
  return string.match(token, '^(.*):') or ''
end

local function locks_of(host)
  return K .. ':locks:' .. host
end

local function quoted(text)
  if not text then
    return 'null'
  end
  return (string.gsub(cjson.encode(text), '\\/', '/'))
end

local function tell(job, status, why)
  local told = try('PUBLISH', ARGV[1], '{"tenantId":' .. quoted(job.tenant) .. ',"jobId":' .. quoted(job.id)
    .. ',"status":"' .. status .. '","error":' .. quoted(why) .. '}')
  if type(told) == 'table' and told.err then
    untold = told.err
  end
end

local function event(name, id, ...)
  try('XADD', K .. ':events', 'MAXLEN', '~', '1000', '*', 'event', name, 'jobId', id, ...)
end

-- A record that is written where there is none is nobody else's, and goes as such: it was deleted, or has run out, while
-- its job ran.
local function own(record)
  if call('EXISTS', record) == 0 then
    call('HSET', record, 'madeBy', 'jobcell')
  end
end

-- Writes fields of a record, as well as can be: a record that holds something else must not keep its item back.
local function note(record, ...)
  if record then
    pcall(own, record)
    try('HSET', record, ...)
  end
end

local function forget(record, ...)
  if record then
    try('HDEL', record, ...)
  end
end

-- The log beside a record. An id may end so that another job's record has this key: what is no list is not ours.
local function logs_of(record)
  local logs = record .. ':logs'
  return call('TYPE', logs).ok == 'list' and logs or nil
end

-- Lets a record go after so many ms.
local function expire(record, ms, now)
  if record then
    call('PEXPIRE', record, ms)
    local logs = logs_of(record)
    if logs then
      call('PEXPIRE', logs, ms)
    end
    call('HSET', record, 'expiresAt', string.format('%.0f', now + ms))
  end
end

-- What a token stands for; nil when it stands for nothing any more.
local function held(host, token)
  local f = call('HMGET', K .. ':claims:' .. host, token, token .. '/id', token .. '/record', token .. '/tenant',
    token .. '/cancel')
  return f[1] and { item = f[1], id = f[2], record = f[3], tenant = f[4], cancel = f[5] } or nil
end

-- A host lives as long as the last of its locks.
local function beat(host)
  local last = call('ZREVRANGE', locks_of(host), '0', '0', 'WITHSCORES')[2]
  if last then
    call('SET', K .. ':heartbeat:' .. host, '1', 'PXAT', string.format('%.0f', last))
  end
end

-- The set of delayed items has each once. More of the same are counted, and come back with it.
local function later(item, due)
  if call('ZADD', DELAYED, 'LT', due, item) == 1 then
    call('HDEL', COPIES, item)
  else
    call('HINCRBY', COPIES, item, '1')
  end
end

-- Takes one such item from the delayed ones. False when there is none.
local function sooner(item)
  if not call('ZSCORE', DELAYED, item) then
    call('HDEL', COPIES, item)
    return false
  end
  local more = tonumber(call('HGET', COPIES, item)) or 0
  if more > 1 then
    call('HINCRBY', COPIES, item, '-1')
  elseif more == 1 then
    call('HDEL', COPIES, item)
  else
    call('ZREM', DELAYED, item)
  end
  return true
end

-- Takes an item from the host that held it; what becomes of it has been stored before. An item that waited for the end
-- of this one, because it is the same job, is next.
local function let_go(host, token, job)
  call('LREM', K .. ':processing:' .. host, '1', job.item)
  call('HDEL', K .. ':claims:' .. host, token, token .. '/id', token .. '/record', token .. '/tenant',
    token .. '/cancel')
  call('ZREM', locks_of(host), token)
  if job.record and call('HGET', RUNNING, job.record) == token then
    call('HDEL', RUNNING, job.record)
    local twin = call('RPOP', K .. ':twins:' .. job.record)
    while twin do
      if sooner(twin) then
        call('RPUSH', K, twin)
        return
      end
      twin = call('RPOP', K .. ':twins:' .. job.record)
    end
  end
end
