#!lua flags=allow-oom
-- Takes over from holders that died: their jobs are ready again, counted as lost.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- Returns  1
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
reap()
return 1
