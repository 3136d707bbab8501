-- A key that other programs use too: KEYS[1].
local range = {}

-- What stands there, when it is no text: an error that says so. SET and DEL would not mind and lose it.
function range.misfit()
  local kind = call('TYPE', KEYS[1]).ok
  if kind ~= 'string' and kind ~= 'none' then
    return redis.error_reply('WRONGTYPE it is a ' .. kind)
  end
end

-- Sets the value; `ttl` is its time to live in ms, or '' to leave the key what it has.
function range.set(value, ttl)
  if ttl == '' then
    call('SET', KEYS[1], value, 'KEEPTTL')
  else
    call('SET', KEYS[1], value, 'PX', ttl)
  end
end

return range
