#!lua
-- Adds one job of a fresh id and of which nothing is said: what most publishes are.
--
-- Adds nothing where the id is known already, as publish.lua, and may be refused for want of
-- memory as that. It does without the tables of a queue and of lists: they take a third of its time.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name    ARGV[3]  id    ARGV[4]  body    ARGV[5]  '', as in publish.lua
-- Returns  1, or 0 when it added nothing, or -1 without such a queue
--- @include base
--- @include fresh
--- @include ring
local queue, id = call('HGET', QUEUES, ARGV[2]), ARGV[3]
if not queue then
  return -1
end
local _, number, kind = cmsgpack.unpack_limit(queue, 2)
local job = fresh(call('INCR', base .. ':entries'), number, kind)
if call('HSETNX', JOBS, id, cmsgpack.pack(job)) == 0 then
  return 0
end
call('HSET', BODIES, id, ARGV[4])
call('ZADD', root_of(number) .. 'ready', 0, place_of(job) .. id)
ring(ARGV[2])
return 1
