#!lua flags=allow-oom
-- Renews the leases of holders; a lease of 0 seconds ends at once.
--
-- A lease that was ended, or whose jobs were taken over, stays so, whoever is late with a renewal;
-- one that merely ran out while nobody looked lives again (the server was away, say).
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- then for each holder: its number, its lease in seconds
-- Returns  how many of them are known
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local known = 0
for place = 2, #ARGV, 2 do
  local ends = redis.call('ZSCORE', KEYS[1] .. ':holders', ARGV[place])
  if ends and ends ~= '0' then
    local lease = tonumber(ARGV[place + 1])
    redis.call('ZADD', KEYS[1] .. ':holders', lease > 0 and now + lease or 0, ARGV[place])
    known = known + 1
  end
end
return known
