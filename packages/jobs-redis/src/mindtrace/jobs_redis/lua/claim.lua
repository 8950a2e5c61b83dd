#!lua flags=allow-oom
-- Leases these very jobs, whatever else waits.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the holder          ARGV[3]  its lease in seconds
-- ARGV[4]  the queue's name    ARGV[5]  '1' to take what a living holder has (this one,
--          too): that delivery ends, counted as lost
-- then the ids
-- Returns  {'missing'} without such a queue, else id, body, facts for each, or '' three times
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
--- @include lease
local queue = queue_named(ARGV[4])
if not queue then
  return {'missing'}
end
reap()
expire(queue)
local holder = ARGV[2]
call('ZADD', HOLDERS, real + ARGV[3], holder)

local function leasable(id)
  local job = job_of(id)
  if not job or job[QUEUE] ~= queue.number then
    return nil
  end
  if job[STATE] == LEASED and ARGV[5] == '1' then
    lose_one(id, job, queue)
  end
  if job[STATE] == WAITING and job[DUE] <= now then
    return job
  end
end

local found = {}
for place = 6, #ARGV do
  local id = ARGV[place]
  local job = leasable(id)
  if job then
    local member = member_of(id, job)
    withdraw(id, job, queue)
    lease(id, job, queue, holder, member)
    call('HSET', JOBS, id, cmsgpack.pack(job))
    call('ZADD', queue.leased, holder, member)
  end
  found[#found + 1] = job and id or ''
  found[#found + 1] = job and call('HGET', BODIES, id) or ''
  found[#found + 1] = job and facts_of(job) or ''
end
return found
