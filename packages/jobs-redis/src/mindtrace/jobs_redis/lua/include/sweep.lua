-- Forgets records and dedup keys whose time is over, some at a time.
local function sweep(queue)
  for _, set in ipairs({queue.kept, queue.dying}) do
    for _, id in ipairs(call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, 100)) do
      forget(id, job_of(id), queue)
    end
  end
  for _, key in ipairs(call('ZRANGEBYSCORE', queue.fading, '-inf', now, 'LIMIT', 0, 100)) do
    call('HDEL', queue.keys, key)
    call('ZREM', queue.fading, key)
  end
end
