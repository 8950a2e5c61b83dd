#!lua
-- Adds jobs of fresh ids to a queue, all of them or none: the quick way, taken first.
--
-- Adds nothing where an id is known already or given twice; publish_checked.lua looks closer. The
-- server may refuse the scripts that publish for want of memory; nothing is written then.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- then for each job: id, body, and '' or JSON: p priority, r rank, d delay, t seconds to live,
--          k seconds to keep its outcome
-- Returns  1, or 0 when it added nothing, or -1 without such a queue
--- @include base
--- @include queue
--- @include ring
local queue = queue_named(ARGV[2])
if not queue then
  return -1
end
--- @include adding
local count = (#ARGV - 2) / 3
local given = {}
for first = 1, count, CHUNK do
  local ids = {}
  for place = first, math.min(first + CHUNK - 1, count) do
    local id = ARGV[3 * place]
    if given[id] then
      return 0
    end
    given[id] = true
    ids[#ids + 1] = id
  end
  for _, packed in ipairs(call('HMGET', JOBS, unpack(ids))) do
    if packed then
      return 0
    end
  end
end
local last = call('INCRBY', base .. ':entries', count) - count
for place = 1, count do
  local said = ARGV[3 * place + 2]
  add(ARGV[3 * place], ARGV[3 * place + 1], said ~= '' and cjson.decode(said), last + place)
  if #jobs >= CHUNK then
    write()
  end
end
write()
ring(queue.name)
return 1
