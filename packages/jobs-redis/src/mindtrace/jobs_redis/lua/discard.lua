#!lua flags=allow-oom
-- Removes dead letters for good.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  'all', or 'these' and then the ids
-- Returns  how many, or -1 when there is no such queue
--- @include base
--- @include queue
--- @include finish
--- @include letters
local queue = queue_named(ARGV[2])
if not queue then
  return -1
end
local ids = letters(queue, 3)
for _, id in ipairs(ids) do
  forget(id, job_of(id), queue)
end
return #ids
