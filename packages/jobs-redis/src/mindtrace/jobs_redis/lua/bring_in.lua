#!lua
-- Adds jobs that come from another store, with their counters and failures, all or none.
--
-- A job whose id is in this queue already is not added again, so that it is safe to repeat.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- then for each: id, body, and JSON: p priority, r rank, n delivery number, a attempts, l lost,
--          u published at, d due at, e expires at, k keep, f failure (four texts), x died at
-- Returns  the entry of each; or {'missing'} without such a queue, {'duplicate', id, queue, state}
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
--- @include current
local queue = queue_named(ARGV[2])
if not queue then
  return {'missing'}
end
local entries = {}
for place = 3, #ARGV, 3 do
  local id = ARGV[place]
  local job = job_of(id) and current(id)
  if job and (job[QUEUE] ~= queue.number or job[STATE] > DEAD) then
    return duplicate(id, job)
  end
end
for place = 3, #ARGV, 3 do
  local id = ARGV[place]
  local job = job_of(id)
  if not job then
    local said = cjson.decode(ARGV[place + 2])
    local rank = queue.type == 'priority' and said.r or ''
    job = {call('INCR', base .. ':entries'), queue.number, WAITING, said.n, said.a, said.l, said.p,
      said.k or false, said.u, 0, said.e or 0, rank, false, false, false}
    call('HSET', BODIES, id, ARGV[place + 1])
    if said.f then
      call('ZADD', queue.dead, call('INCR', base .. ':deaths'), id)
      if queue.dead_ttl then
        call('ZADD', queue.dying, said.x + queue.dead_ttl, id)
      end
      job[STATE], job[EXPIRES] = DEAD, 0
      local ending = queue.dead_ttl and said.x + queue.dead_ttl or false
      local outcome = {said.x, ending, false, said.f[1], said.f[2], said.f[3], said.f[4]}
      call('HSET', OUTCOMES, id, cmsgpack.pack(outcome))
      call('HSET', JOBS, id, cmsgpack.pack(job))
    else
      put_back(id, job, queue, said.d and math.max(0, said.d - now) or 0)
    end
  end
  entries[#entries + 1] = job[SEQ]
end
return entries
