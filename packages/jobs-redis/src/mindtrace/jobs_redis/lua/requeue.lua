#!lua flags=allow-oom
-- Makes dead letters ready again at their publish place, with fresh counters.
--
-- Atomic; the delivery number goes on rising.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  'all', or 'these' and then the ids
-- Returns  how many, or -1 when there is no such queue
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include letters
local queue = queue_named(ARGV[2])
if not queue then
  return -1
end
local ids = letters(queue, 3)
for _, id in ipairs(ids) do
  local job = job_of(id)
  job[ATTEMPTS], job[LOST] = 0, 0
  call('ZREM', queue.dead, id)
  call('ZREM', queue.dying, id)
  call('HDEL', OUTCOMES, id)
  put_back(id, job, queue, 0)
end
return #ids
