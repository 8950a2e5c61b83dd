-- The names that every script uses: keys, the fields of a job, the time.
--
-- A job is two fields of two hashes: `jobs` (its facts, packed) and `bodies` (its text). Where it
-- is, is told by the sorted sets of its queue, whose members are its place followed by its id:
-- `ready` (all of score 0: the place orders), `delayed` (by when it is due), `leased` (by holder),
-- `expiring` (by when it expires, while it waits). Finished ones: `dead` (by death), `dying` (dead
-- ones with an end), `kept` (records, by their end); those members are ids.
local base = KEYS[1]
local call = redis.call
local JOBS, BODIES = base .. ':jobs', base .. ':bodies'
local QUEUES, NAMES = base .. ':queues', base .. ':names'
local HOLDERS, CANCELLING = base .. ':holders', base .. ':cancelling'
local OUTCOMES = base .. ':outcomes'

-- fields of a job's facts
local SEQ, QUEUE, STATE, NUMBER, ATTEMPTS, LOST, PRIORITY = 1, 2, 3, 4, 5, 6, 7
local KEEP, PUBLISHED, DUE, EXPIRES, RANK, KEY, CANCEL, PROGRESS = 8, 9, 10, 11, 12, 13, 14, 15
-- states as in lifecycle.py; what is due or delayed is told by the field DUE
local WAITING, LEASED, DEAD, COMPLETED, CANCELLED = 0, 2, 3, 4, 5
-- how many members one command takes: Lua's stack is bounded
local CHUNK = 1000

local clock = call('TIME')
local real = clock[1] + clock[2] / 1000000
local now = real + tonumber(ARGV[1])

local function exact(number)
  return string.format('%.17g', number)
end

-- what the names of a queue's keys begin with
local function root_of(number)
  return base .. ':q' .. number .. ':'
end

-- The list that consumers of a queue block on; named after the queue, for they know no more.
local function wake_key(name)
  return base .. ':wake:' .. name
end

local function place_of(job)
  return job[RANK] .. string.format('%015d', job[SEQ])
end

local function job_of(id)
  local packed = call('HGET', JOBS, id)
  return packed and cmsgpack.unpack(packed)
end
