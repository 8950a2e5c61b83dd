#!lua flags=allow-oom
-- Settles deliveries.
--
-- Each is settled once, by its last delivery, or refused and nothing changes.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- then the settlements, see include/settle.lua
-- Returns  the places of those that were refused as stale
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
--- @include settle
reap()
return settle(2, (#ARGV - 1) / 4)
