#!lua flags=allow-oom
-- Makes a new holder, alive for one lease unless that is renewed.
--
-- Its number is never used again.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  its lease in seconds
-- Returns  its number
--- @include base
local holder = call('INCR', base .. ':numbers')
call('ZADD', HOLDERS, real + ARGV[2], holder)
return holder
