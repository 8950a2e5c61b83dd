-- Leases up to `limit` ready jobs of one queue in its order; one that was lost comes alone.
local function give_back_from(popped, first, ready)
  local back = {}
  for place = first, #popped, 2 do
    back[#back + 1] = 0
    back[#back + 1] = popped[place]
  end
  if #back > 0 then
    call('ZADD', ready, unpack(back))
  end
end

local function claim(queue, holder, limit)
  local pop = queue.type == 'stack' and 'ZPOPMAX' or 'ZPOPMIN'
  local popped = call(pop, queue.ready, math.min(limit, CHUNK))
  local found = {}
  if #popped == 0 then
    return found
  end
  local ids = {}
  for place = 1, #popped, 2 do
    ids[#ids + 1] = id_of(queue, popped[place])
  end
  local jobs = call('HMGET', JOBS, unpack(ids))
  local bodies = call('HMGET', BODIES, unpack(ids))
  local written, held = {}, {}
  for place, id in ipairs(ids) do
    local job = cmsgpack.unpack(jobs[place])
    if job[LOST] > 0 and #found > 0 then
      give_back_from(popped, 2 * place - 1, queue.ready)
      break
    end
    local member = popped[2 * place - 1]
    if job[EXPIRES] > 0 and job[EXPIRES] <= now then
      call('ZREM', queue.expiring, member)
      finish(id, job, queue, CANCELLED, {false, 'expired'})
    else
      lease(id, job, queue, holder, member)
      written[#written + 1] = id
      written[#written + 1] = cmsgpack.pack(job)
      held[#held + 1] = holder
      held[#held + 1] = member
      found[#found + 1] = id
      found[#found + 1] = bodies[place]
      found[#found + 1] = facts_of(job)
      if job[LOST] > 0 then
        give_back_from(popped, 2 * place + 1, queue.ready)
        break
      end
    end
  end
  if #found > 0 then
    call('HSET', JOBS, unpack(written))
    call('ZADD', queue.leased, unpack(held))
  end
  return found
end
