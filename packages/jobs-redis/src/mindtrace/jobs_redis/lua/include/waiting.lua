-- Jobs that wait: putting them back, making them ready when due, ending them when they expire.
local function put_back(id, job, queue, delay)
  local member = member_of(id, job)
  job[STATE], job[DUE] = WAITING, 0
  if delay > 0 then
    job[DUE] = now + delay
    call('ZADD', queue.delayed, job[DUE], member)
  else
    call('ZADD', queue.ready, 0, member)
  end
  if job[EXPIRES] > 0 then
    call('ZADD', queue.expiring, job[EXPIRES], member)
  end
  call('HSET', JOBS, id, cmsgpack.pack(job))
  ring(queue.name)
end

-- Takes a waiting job out of the sets in which waiting jobs are.
local function withdraw(id, job, queue)
  local member = member_of(id, job)
  if call('ZREM', queue.ready, member) == 0 then
    call('ZREM', queue.delayed, member)
  end
  if job[EXPIRES] > 0 then
    call('ZREM', queue.expiring, member)
  end
end

local function expire_one(id, job, queue)
  withdraw(id, job, queue)
  finish(id, job, queue, CANCELLED, {false, 'expired'})
end

local function expire(queue)
  for _, member in ipairs(call('ZRANGEBYSCORE', queue.expiring, '-inf', now, 'LIMIT', 0, CHUNK)) do
    local id = id_of(queue, member)
    expire_one(id, job_of(id), queue)
  end
end

local function promote(queue)
  local due = call('ZRANGEBYSCORE', queue.delayed, '-inf', now, 'LIMIT', 0, CHUNK)
  if #due > 0 then
    local added = {}
    for place, member in ipairs(due) do
      added[2 * place - 1], added[2 * place] = 0, member
    end
    call('ZADD', queue.ready, unpack(added))
    call('ZREM', queue.delayed, unpack(due))
  end
end
