-- How a job ends: what is kept of it, and who is told.
local anybody_waits

local function tell_waiters(id)
  if anybody_waits == nil then
    anybody_waits = call('EXISTS', base .. ':awaited') == 1
  end
  if anybody_waits then
    for _, token in ipairs(call('SMEMBERS', base .. ':awaited:' .. id)) do
      local bell = base .. ':bell:' .. token
      call('RPUSH', bell, '1')
      call('EXPIRE', bell, 60)
    end
  end
end

-- A dedup key of a finished job counts until its time is over, and is looked at again then.
local function release_key(job, queue)
  if not job[KEY] then
    return
  end
  local packed = call('HGET', queue.keys, job[KEY])
  local known = packed and cmsgpack.unpack(packed)
  if known and known[2] == job[SEQ] then
    if known[3] <= now then
      call('HDEL', queue.keys, job[KEY])
    else
      call('ZADD', queue.fading, known[3], job[KEY])
    end
  end
end

-- Removes a job with all that is known of it; its place in the queue's sets is the caller's part.
local function forget(id, job, queue)
  release_key(job, queue)
  call('HDEL', JOBS, id)
  call('HDEL', BODIES, id)
  if job[STATE] >= DEAD then
    call('HDEL', OUTCOMES, id)
    call('ZREM', queue.kept, id)
    call('ZREM', queue.dying, id)
    call('ZREM', queue.dead, id)
  elseif job[CANCEL] then
    call('ZREM', CANCELLING, id)
  end
  tell_waiters(id)
end

-- Ends a job. `said` is {result} of a completed one, {false, reason} of a cancelled one, and
-- {false, reason, error type, message, traceback} of a dead one.
local function finish(id, job, queue, state, said)
  local keep = job[KEEP]
  if state == DEAD then
    keep = queue.dead_ttl
  elseif not keep then
    forget(id, job, queue)
    job[STATE] = state
    return
  end
  release_key(job, queue)
  if job[CANCEL] then
    call('ZREM', CANCELLING, id)
  end
  job[STATE], job[DUE], job[EXPIRES], job[CANCEL] = state, 0, 0, false
  call('HSET', JOBS, id, cmsgpack.pack(job))
  if state == DEAD then
    call('ZADD', queue.dead, call('INCR', base .. ':deaths'), id)
  else
    call('HDEL', BODIES, id)
  end
  if keep then
    call('ZADD', state == DEAD and queue.dying or queue.kept, now + keep, id)
  end
  local outcome = {now, keep and now + keep or false}
  for place = 1, 5 do
    outcome[place + 2] = said[place] or false
  end
  call('HSET', OUTCOMES, id, cmsgpack.pack(outcome))
  tell_waiters(id)
end
