#!lua flags=no-writes
-- Reads jobs that wait or lie dead, whole, for moving them to another store.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name, then the ids; those that a holder has or that are gone are left out
-- Returns  for each: entry, id, body, state, priority, published at, due at or '', expires at or
--          '', keep or '', delivery number, attempts, lost, reason, error type, message,
--          traceback, died at or ''
--- @include base
--- @include queue
local queue = queue_named(ARGV[2])
local found = {}

local function add(id, job, said)
  local state = job[STATE]
  if state == WAITING and job[DUE] > now then
    state = 1
  end
  local function moment(value)
    return value and value ~= 0 and exact(value) or ''
  end
  for _, value in ipairs({job[SEQ], id, call('HGET', BODIES, id), state, job[PRIORITY],
    exact(job[PUBLISHED]), moment(job[DUE]), moment(job[EXPIRES]), moment(job[KEEP]), job[NUMBER],
    job[ATTEMPTS], job[LOST], said[4] or '', said[5] or '', said[6] or '', said[7] or '',
    moment(said[1])}) do
    found[#found + 1] = value
  end
end

for place = 3, #ARGV do
  local id = ARGV[place]
  local job = queue and job_of(id)
  if job and job[QUEUE] == queue.number then
    if job[STATE] == DEAD then
      local said = cmsgpack.unpack(call('HGET', OUTCOMES, id))
      if not said[2] or said[2] > now then
        add(id, job, said)
      end
    elseif job[STATE] == WAITING and (job[EXPIRES] == 0 or job[EXPIRES] > now) then
      add(id, job, {})
    end
  end
end
return found
