-- Who has an id now, after time has had its way: dead holders, jobs and records that are over.
local reaped = false

local function current(id)
  if not reaped then
    reaped = true
    reap()
  end
  local job = job_of(id)
  if not job then
    return nil
  end
  local its_queue = queue_numbered(job[QUEUE])
  if job[STATE] == WAITING and job[EXPIRES] > 0 and job[EXPIRES] <= now then
    expire_one(id, job, its_queue)
    job = job_of(id)
  end
  if job and job[STATE] >= DEAD then
    local outcome = cmsgpack.unpack(call('HGET', OUTCOMES, id))
    if outcome[2] and outcome[2] <= now then
      forget(id, job, its_queue)
      job = nil
    end
  end
  return job or nil
end

-- Returns what the caller answers when an id belongs to another job.
local function duplicate(id, job)
  local states = {[WAITING] = 'ready', [LEASED] = 'leased', [DEAD] = 'dead',
    [COMPLETED] = 'completed', [CANCELLED] = 'cancelled'}
  local state = job[DUE] > now and 'delayed' or states[job[STATE]]
  return {'duplicate', id, queue_numbered(job[QUEUE]).name, state}
end
