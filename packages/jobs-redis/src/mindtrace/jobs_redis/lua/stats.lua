#!lua flags=no-writes
-- Counts the jobs of a queue as they are at this moment, whoever has looked before.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- Returns  {type, ready, delayed, leased, dead, seconds since the oldest ready one was published
--          or ''}, or {} when there is no such queue
--- @include base
--- @include queue
--- @include looking
local queue = queue_named(ARGV[2])
if not queue then
  return {}
end
local due = call('ZCOUNT', queue.delayed, '-inf', now)
local ready = call('ZCARD', queue.ready) + due
local delayed = call('ZCARD', queue.delayed) - due
local leased = call('ZCARD', queue.leased)
local dead = call('ZCARD', queue.dead) - call('ZCOUNT', queue.dying, '-inf', now)

local gone = {}
for _, member in ipairs(call('ZRANGEBYSCORE', queue.expiring, '-inf', now)) do
  gone[member] = true
  local at = call('ZSCORE', queue.delayed, member)
  if at and tonumber(at) > now then
    delayed = delayed - 1
  else
    ready = ready - 1
  end
end

-- among jobs of one rank the smallest place is the oldest
local oldest
local function consider(member)
  if not gone[member] then
    local age = string.sub(member, queue.length - 14)
    if not oldest or age < oldest then
      oldest = age
    end
  end
end

for _, holder in ipairs(call('ZRANGEBYSCORE', HOLDERS, '-inf', real)) do
  for _, member in ipairs(call('ZRANGEBYSCORE', queue.leased, holder, holder)) do
    leased = leased - 1
    local state = state_when_lost(job_of(id_of(queue, member)), queue)
    if state == WAITING then
      ready = ready + 1
      consider(member)
    elseif state == DEAD then
      dead = dead + 1
    end
  end
end
for _, member in ipairs(call('ZRANGEBYSCORE', queue.delayed, '-inf', now)) do
  consider(member)
end

-- the first of each rank that has not expired
local from = '-'
while true do
  local member = call('ZRANGEBYLEX', queue.ready, from, '+', 'LIMIT', 0, 1)[1]
  if not member then
    break
  end
  consider(member)
  if gone[member] then
    from = '(' .. member
  elseif queue.type == 'priority' then
    from = '(' .. string.sub(member, 1, 16) .. 'g'
  else
    break
  end
end
local age = ''
if oldest then
  age = exact(math.max(0, now - job_of(string.sub(oldest, 16))[PUBLISHED]))
end
return {queue.type, ready, delayed, leased, dead, age}
