#!lua flags=allow-oom
-- Removes a queue with all that it has; deliveries still held become stale.
--
-- Takes time that grows with the number of its jobs: the server does nothing else meanwhile.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- Returns  1, or 0 when there is no such queue
--- @include base
--- @include queue
--- @include finish
local queue = queue_named(ARGV[2])
if not queue then
  return 0
end
local function remove(ids)
  for _, id in ipairs(ids) do
    local job = job_of(id)
    if job and job[CANCEL] then
      call('ZREM', CANCELLING, id)
    end
    tell_waiters(id)
  end
  for first = 1, #ids, CHUNK do
    local last = math.min(first + CHUNK - 1, #ids)
    for _, hash in ipairs({JOBS, BODIES, OUTCOMES}) do
      call('HDEL', hash, unpack(ids, first, last))
    end
  end
end
for _, set in ipairs({queue.ready, queue.delayed, queue.leased}) do
  local ids = call('ZRANGE', set, 0, -1)
  for place, member in ipairs(ids) do
    ids[place] = id_of(queue, member)
  end
  remove(ids)
end
for _, set in ipairs({queue.dead, queue.kept}) do
  remove(call('ZRANGE', set, 0, -1))
end
for _, key in ipairs({
  queue.ready, queue.delayed, queue.leased, queue.expiring, queue.dead, queue.dying, queue.kept,
  queue.keys, queue.fading, wake_key(queue.name),
}) do
  call('DEL', key)
end
call('HDEL', QUEUES, queue.name)
call('HDEL', NAMES, queue.number)
-- those who wait on it learn that it is gone
call('RPUSH', wake_key(queue.name), '1')
call('EXPIRE', wake_key(queue.name), 10)
return 1
