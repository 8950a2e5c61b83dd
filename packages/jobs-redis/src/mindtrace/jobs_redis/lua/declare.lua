#!lua flags=allow-oom
-- Makes a queue exist, or gives an existing one new options.
--
-- Atomic: of several that declare one name with different types, one wins and the others are told.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  its type, or '' for the existing one, else fifo
-- ARGV[4]  most deliveries that may be lost      ARGV[5]  seconds a dead letter is kept, or ''
-- ARGV[6]  all options as JSON                   ARGV[7]  '1' if the options were said
-- Returns  {1} made, {0} existed, {-1, type} exists with another type
--- @include base
local name, wanted = ARGV[2], ARGV[3]
local packed = call('HGET', QUEUES, name)
local queue
if packed then
  queue = {cmsgpack.unpack(packed)}
  if wanted ~= '' and wanted ~= queue[2] then
    return {-1, queue[2]}
  end
else
  queue = {call('INCR', base .. ':numbers'), wanted == '' and 'fifo' or wanted}
end
if not packed or ARGV[7] == '1' then
  queue[3], queue[4], queue[5] = tonumber(ARGV[4]), tonumber(ARGV[5]) or false, ARGV[6]
  -- one value after the other: publishing reads the first two alone
  call('HSET', QUEUES, name, cmsgpack.pack(unpack(queue, 1, 5)))
  call('HSET', NAMES, queue[1], name)
end
return {packed and 0 or 1}
