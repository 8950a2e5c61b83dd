#!lua flags=no-writes
-- Lists what waits in a queue, for moving it to another store.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  'ready', 'delayed' or 'dead'    ARGV[4], ARGV[5]  first and last place
-- Returns  {'missing'} without such a queue, else entry and id of each (dead ones: '' and id)
--- @include base
--- @include queue
local queue = queue_named(ARGV[2])
if not queue then
  return {'missing'}
end
local found = {}
for _, member in ipairs(call('ZRANGE', queue[ARGV[3]], ARGV[4], ARGV[5])) do
  local dead = ARGV[3] == 'dead'
  found[#found + 1] = dead and '' or string.sub(member, queue.length - 14, queue.length)
  found[#found + 1] = dead and member or id_of(queue, member)
end
return found
