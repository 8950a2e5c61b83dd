#!lua flags=no-writes
-- Lists dead letters, oldest death first.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  how many at most    ARGV[4]  the id after which the page begins, or ''
-- Returns  {'missing'} without such a queue, else for each: id, body, entry, delivery number,
--          attempts, lost, priority, keep or '', reason, error type, message, traceback, died at
--- @include base
--- @include queue
--- @include letters
local queue = queue_named(ARGV[2])
if not queue then
  return {'missing'}
end
local after = ARGV[4] ~= '' and call('ZSCORE', queue.dead, ARGV[4])
local from = after and '(' .. after or '-inf'
local found, left, skipped = {}, tonumber(ARGV[3]), 0
while left > 0 do
  local page = call('ZRANGEBYSCORE', queue.dead, from, '+inf', 'LIMIT', skipped, left)
  if #page == 0 then
    break
  end
  skipped = skipped + #page
  for _, id in ipairs(page) do
    if not is_over(queue, id) then
      left = left - 1
      local job, said = job_of(id), cmsgpack.unpack(call('HGET', OUTCOMES, id))
      for _, value in ipairs({id, call('HGET', BODIES, id), job[SEQ], job[NUMBER], job[ATTEMPTS],
        job[LOST], job[PRIORITY], job[KEEP] and exact(job[KEEP]) or '', said[4] or '',
        said[5] or '', said[6] or '', said[7] or '', exact(said[1])}) do
        found[#found + 1] = value
      end
    end
  end
end
return found
