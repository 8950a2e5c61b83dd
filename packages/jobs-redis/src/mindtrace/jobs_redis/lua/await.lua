#!lua flags=allow-oom
-- Tells what is known of a job, and rings a bell when it ends within the next ten seconds.
--
-- No end is missed: looking and waiting for the bell begin in one step.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the job's id    ARGV[3]  the name of the bell
-- Returns  as records.lua for one job
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
--- @include record
reap()
local waiters = base .. ':awaited:' .. ARGV[2]
call('SADD', waiters, ARGV[3])
call('EXPIRE', waiters, 10)
call('SET', base .. ':awaited', '1', 'EX', 10)
return record_of(ARGV[2])
