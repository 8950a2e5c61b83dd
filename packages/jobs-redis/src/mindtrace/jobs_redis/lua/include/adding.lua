-- Writes new jobs of one queue, several with one command.
--- @include fresh
local jobs, bodies, ready, delayed, expiring = {}, {}, {}, {}, {}

local function put(command, key, list)
  if #list > 0 then
    call(command, key, unpack(list))
  end
end

local function write()
  put('HSET', JOBS, jobs)
  put('HSET', BODIES, bodies)
  put('ZADD', queue.ready, ready)
  if #delayed + #expiring > 0 then
    put('ZADD', queue.delayed, delayed)
    put('ZADD', queue.expiring, expiring)
  end
  jobs, bodies, ready, delayed, expiring = {}, {}, {}, {}, {}
end

local function use(facts, job)
  job[PRIORITY] = facts.p or '0'
  job[KEEP] = facts.k or false
  job[KEY] = facts.y or false
  if facts.r and queue.type == 'priority' then
    job[RANK] = facts.r
  end
  job[DUE] = facts.d and now + facts.d or 0
  job[EXPIRES] = facts.t and now + facts.t or 0
end

-- Adds one job; `write` makes it so. Returns its facts.
local function add(id, body, facts, entry)
  local job = fresh(entry, queue.number, queue.type)
  if facts then
    use(facts, job)
  end
  local member = place_of(job) .. id
  local set, score = ready, 0
  if job[DUE] > 0 then
    set, score = delayed, job[DUE]
  end
  set[#set + 1] = score
  set[#set + 1] = member
  if job[EXPIRES] > 0 then
    expiring[#expiring + 1] = job[EXPIRES]
    expiring[#expiring + 1] = member
  end
  jobs[#jobs + 1] = id
  jobs[#jobs + 1] = cmsgpack.pack(job)
  bodies[#bodies + 1] = id
  bodies[#bodies + 1] = body
  return job
end
