#!lua flags=allow-oom
-- Removes what waits in a queue, ready or delayed; leased and dead jobs stay.
--
-- Takes time that grows with the number of its jobs: the server does nothing else meanwhile.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- Returns  how many were removed, or -1 when there is no such queue
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
local queue = queue_named(ARGV[2])
if not queue then
  return -1
end
reap()
while call('ZCOUNT', queue.expiring, '-inf', now) > 0 do
  expire(queue)
end
local count = 0
for _, set in ipairs({queue.ready, queue.delayed}) do
  for _, member in ipairs(call('ZRANGE', set, 0, -1)) do
    local id = id_of(queue, member)
    finish(id, job_of(id), queue, CANCELLED, {false, 'purged'})
    count = count + 1
  end
  call('DEL', set)
end
call('DEL', queue.expiring)
return count
