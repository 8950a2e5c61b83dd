-- Wakes one consumer that blocks on a queue; it passes the ring on if there is more to do.
local function ring(name)
  local key = wake_key(name)
  if call('EXISTS', key) == 0 then
    call('RPUSH', key, '1')
  end
end
