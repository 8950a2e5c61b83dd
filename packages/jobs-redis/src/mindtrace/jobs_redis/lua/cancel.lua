#!lua flags=allow-oom
-- Cancels a waiting job at once, or marks a leased one so that it ends cancelled.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the job's id
-- Returns  1, or 0 when it has finished or nothing is known of it
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
reap()
local id = ARGV[2]
local job = job_of(id)
if not job or job[STATE] >= DEAD then
  return 0
end
local queue = queue_numbered(job[QUEUE])
if job[STATE] == LEASED then
  job[CANCEL] = true
  call('HSET', JOBS, id, cmsgpack.pack(job))
  call('ZADD', CANCELLING, call('ZSCORE', queue.leased, member_of(id, job)), id)
  return 1
end
if job[EXPIRES] > 0 and job[EXPIRES] <= now then
  expire_one(id, job, queue)
  return 0
end
withdraw(id, job, queue)
finish(id, job, queue, CANCELLED, {false, 'cancelled before it ran'})
return 1
