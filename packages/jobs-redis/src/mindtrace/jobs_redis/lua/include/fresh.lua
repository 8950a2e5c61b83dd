-- The facts of a new job of which nothing is said: no priority, no delay, no end.
local function fresh(entry, number, kind)
  local rank = kind == 'priority' and '4000000000000000' or ''
  return {entry, number, WAITING, 0, 0, 0, '0', false, now, 0, 0, rank, false, false, false}
end
