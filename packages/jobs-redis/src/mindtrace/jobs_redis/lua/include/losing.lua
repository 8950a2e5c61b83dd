-- Holders that let go or died: their jobs are ready again, counted as lost.
--- @include poison
local function lose_one(id, job, queue)
  call('ZREM', queue.leased, member_of(id, job))
  job[LOST] = job[LOST] + 1
  if job[CANCEL] then
    finish(id, job, queue, CANCELLED, {false, 'cancelled while it ran'})
  elseif job[LOST] >= queue.max_deliveries then
    finish(id, job, queue, DEAD, poison(job[LOST]))
  else
    put_back(id, job, queue, 0)
  end
end

-- Jobs that are lost together, and perhaps die together, do so in publish order.
local function held_by(holder, queue)
  local members = call('ZRANGEBYSCORE', queue.leased, holder, holder)
  if queue.type == 'priority' then
    local rank = queue.length - 15
    table.sort(members, function(one, other)
      return string.sub(one, rank + 1) < string.sub(other, rank + 1)
    end)
  end
  return members
end

local function lose_all_of(holder)
  for _, queue in ipairs(all_queues()) do
    for _, member in ipairs(held_by(holder, queue)) do
      local id = id_of(queue, member)
      lose_one(id, job_of(id), queue)
    end
  end
  call('ZREM', HOLDERS, holder)
end

-- A holder's lease is real time, whatever time dates the jobs in a test.
local function reap()
  for _, holder in ipairs(call('ZRANGEBYSCORE', HOLDERS, '-inf', real)) do
    lose_all_of(holder)
  end
end
