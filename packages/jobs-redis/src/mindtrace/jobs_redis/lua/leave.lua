#!lua flags=allow-oom
-- Ends a holder: what it still holds is ready again, counted as lost.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the holder
-- Returns  1
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
lose_all_of(ARGV[2])
return 1
