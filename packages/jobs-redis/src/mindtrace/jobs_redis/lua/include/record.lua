-- What is known of a job, without writing anything.
--- @include looking
--- @include poison
local function record_of(id)
  local job = job_of(id)
  if not job then
    return {}
  end
  local queue = queue_numbered(job[QUEUE])
  local state, lost, said = job[STATE], job[LOST], nil
  local member = member_of(id, job)
  if state >= DEAD then
    said = cmsgpack.unpack(call('HGET', OUTCOMES, id))
    if said[2] and said[2] <= now then
      return {}
    end
  elseif state == LEASED and is_lost(queue, member) then
    state, lost = state_when_lost(job, queue), lost + 1
  elseif state == WAITING and job[EXPIRES] > 0 and job[EXPIRES] <= now then
    if not job[KEEP] then
      return {}
    end
    state, said = CANCELLED, {now, false, false, 'expired'}
  elseif state == WAITING and job[DUE] > now then
    state = 1
  end
  if state == CANCELLED and not said and not job[KEEP] then
    return {}
  end
  said = said or (state == DEAD and {now, false, unpack(poison(lost))})
    or (state == CANCELLED and {now, false, false, 'cancelled while it ran'}) or {}
  local found = {queue.name, state, job[ATTEMPTS], lost, job[NUMBER], job[PROGRESS] or ''}
  for place = 3, 7 do
    found[#found + 1] = said[place] or ''
  end
  found[#found + 1] = said[3] and 1 or 0
  return found
end
