#!lua flags=allow-oom
-- Settles deliveries, then leases up to `limit` jobs of the first queue that has any.
--
-- One step: what is settled is safe before anything is leased, and nobody sees one without the
-- other. Takes over from dead holders, ends what expired and makes ready what is due on the way.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the holder                     ARGV[3]  its lease in seconds
-- ARGV[4]  limit                          ARGV[5]  '1' if the holder was rung, and passes it on
-- ARGV[6]  '1' to forget what is over     ARGV[7]  number of queues, then their names in turn
-- then the settlements, see include/settle.lua
-- Returns  {place of the queue served or 0 or -1 if one does not exist,
--           seconds until a delayed job is due or '', places of stale settlements,
--           id, body, facts of each delivery one after the other}
--- @include base
--- @include queue
--- @include finish
--- @include ring
--- @include waiting
--- @include losing
--- @include sweep
--- @include lease
--- @include claim
--- @include settle
reap()
call('ZADD', HOLDERS, real + ARGV[3], ARGV[2])
local count = tonumber(ARGV[7])
local first = 8 + count
local stale = #ARGV >= first and settle(first, (#ARGV - first + 1) / 4) or {}

local queues = {}
for place = 1, count do
  queues[place] = queue_named(ARGV[7 + place])
  if not queues[place] then
    return {-1, '', stale, {}}
  end
end

local served, found = 0, {}
for place, queue in ipairs(queues) do
  expire(queue)
  promote(queue)
  if ARGV[6] == '1' then
    sweep(queue)
  end
  if served == 0 then
    found = claim(queue, ARGV[2], tonumber(ARGV[4]))
    served = #found > 0 and place or 0
  end
end

local due = ''
if served == 0 or ARGV[5] == '1' then
  for _, queue in ipairs(queues) do
    local next_due = call('ZRANGE', queue.delayed, 0, 0, 'WITHSCORES')[2]
    if next_due and (due == '' or next_due - now < due) then
      due = next_due - now
    end
    -- one ring may have stood for several jobs
    local soon = next_due and next_due - now < 1.5
    if served > 0 and (soon or call('EXISTS', queue.ready) == 1) then
      ring(queue.name)
    end
  end
end
return {served, due == '' and due or exact(due), stale, found}
