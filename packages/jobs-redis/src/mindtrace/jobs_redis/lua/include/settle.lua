-- Settles deliveries: compares entry, delivery number and lease itself, and returns the places of
-- those that were refused. Four arguments each: id, entry, delivery number, and the rest as JSON
-- ('' for a completed job without a result).
local function settle_one(id, job, queue, said)
  call('ZREM', queue.leased, member_of(id, job))
  if job[CANCEL] then
    finish(id, job, queue, CANCELLED, {false, 'cancelled while it ran'})
  elseif said.v == 'ack' then
    finish(id, job, queue, COMPLETED, {said.r})
  elseif said.v == 'nack' then
    job[ATTEMPTS] = said.a
    put_back(id, job, queue, said.d)
  elseif said.v == 'release' then
    put_back(id, job, queue, 0)
  else
    job[ATTEMPTS] = said.a
    finish(id, job, queue, DEAD, {false, said.f[1], said.f[2], said.f[3], said.f[4]})
  end
end

local function settle_some(first, count, stale)
  local ids, jobs, gone, left = {}, {}, {}, {}
  for place = 0, count - 1 do
    ids[place + 1] = ARGV[first + 4 * place]
  end
  local packed = call('HMGET', JOBS, unpack(ids))
  for place, id in ipairs(ids) do
    local at = first + 4 * (place - 1)
    local job = jobs[id] or (packed[place] and cmsgpack.unpack(packed[place]))
    if not job or job[STATE] ~= LEASED or job[SEQ] ~= tonumber(ARGV[at + 1])
      or job[NUMBER] ~= tonumber(ARGV[at + 2]) then
      stale[#stale + 1] = (at - stale.first) / 4
    else
      jobs[id] = job
      local rest = ARGV[at + 3]
      local plain = rest == '' and not (job[KEEP] or job[CANCEL] or job[KEY])
      if plain then
        job[STATE] = COMPLETED
        gone[#gone + 1] = id
        local members = left[job[QUEUE]] or {}
        left[job[QUEUE]] = members
        members[#members + 1] = member_of(id, job)
        tell_waiters(id)
      else
        local said = rest == '' and {v = 'ack'} or cjson.decode(rest)
        settle_one(id, job, queue_numbered(job[QUEUE]), said)
      end
    end
  end
  if #gone > 0 then
    call('HDEL', JOBS, unpack(gone))
    call('HDEL', BODIES, unpack(gone))
    for number, members in pairs(left) do
      call('ZREM', base .. ':q' .. number .. ':leased', unpack(members))
    end
  end
end

local function settle(first, count)
  local stale = {first = first}
  for done = 0, count - 1, CHUNK do
    settle_some(first + 4 * done, math.min(CHUNK, count - done), stale)
  end
  stale.first = nil
  return stale
end
