#!lua flags=allow-oom
-- Removes jobs that wait or lie dead, as they were read, for they are in another store now.
--
-- A job that was handed to a holder, settled, cancelled, purged or requeued meanwhile stays.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- then for each: id, entry, delivery number, '1' if it was dead
-- Returns  the places of those that were not there as they were read
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
local queue = queue_named(ARGV[2])
local absent = {}
for place = 3, #ARGV, 4 do
  local id = ARGV[place]
  local job = queue and job_of(id)
  local state = ARGV[place + 3] == '1' and DEAD or WAITING
  if job and job[SEQ] == tonumber(ARGV[place + 1]) and job[STATE] == state
    and job[NUMBER] == tonumber(ARGV[place + 2]) then
    if state == WAITING then
      withdraw(id, job, queue)
    end
    forget(id, job, queue)
  else
    absent[#absent + 1] = (place - 3) / 4
  end
end
return absent
