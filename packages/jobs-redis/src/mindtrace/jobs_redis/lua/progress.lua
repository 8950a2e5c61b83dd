#!lua flags=allow-oom
-- Records how far a delivery is; a stale one records nothing.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  job id   ARGV[3]  entry   ARGV[4]  delivery number   ARGV[5]  JSON
-- Returns  1 if it was recorded, else 0
--- @include base
local job = job_of(ARGV[2])
if not job or job[STATE] ~= LEASED or job[SEQ] ~= tonumber(ARGV[3])
  or job[NUMBER] ~= tonumber(ARGV[4]) then
  return 0
end
job[PROGRESS] = ARGV[5]
call('HSET', JOBS, ARGV[2], cmsgpack.pack(job))
return 1
