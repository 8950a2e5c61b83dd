#!lua flags=no-writes
-- Tells what is known of jobs.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2..]  the jobs' ids
-- Returns  for each {} when nothing is known, else {queue, state, attempts, lost, delivery number,
--          progress or '', result, reason, error type, message, traceback, 1 if there is a result}
--- @include base
--- @include queue
--- @include record
local found = {}
for place = 2, #ARGV do
  found[#found + 1] = record_of(ARGV[place])
end
return found
