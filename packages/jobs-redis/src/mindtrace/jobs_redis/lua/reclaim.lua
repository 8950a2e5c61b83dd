#!lua flags=allow-oom
-- Gives back what a holder has on the server but never heard of: the answer was lost on its way.
--
-- No handler has seen those jobs, so no count changes; their delivery numbers stay used.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the holder
-- then entry and delivery number of each that it knows it has
-- Returns  how many were given back
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
local known, back = {}, 0
for place = 3, #ARGV, 2 do
  known[tonumber(ARGV[place])] = tonumber(ARGV[place + 1])
end
for _, queue in ipairs(all_queues()) do
  for _, member in ipairs(call('ZRANGEBYSCORE', queue.leased, ARGV[2], ARGV[2])) do
    local id = id_of(queue, member)
    local job = job_of(id)
    if known[job[SEQ]] ~= job[NUMBER] then
      call('ZREM', queue.leased, member)
      back = back + 1
      if job[CANCEL] then
        finish(id, job, queue, CANCELLED, {false, 'cancelled before it ran'})
      else
        put_back(id, job, queue, 0)
      end
    end
  end
end
return back
