-- Looking without writing: what died, expired or is due counts as such before anybody acts on it.
local dead_holders

local function is_lost(queue, member)
  if not dead_holders then
    dead_holders = {}
    for _, holder in ipairs(call('ZRANGEBYSCORE', HOLDERS, '-inf', real)) do
      dead_holders[holder] = true
    end
  end
  return dead_holders[call('ZSCORE', queue.leased, member)] or false
end

-- Returns the state that a job of a dead holder will have: 0, dead or cancelled.
local function state_when_lost(job, queue)
  if job[CANCEL] then
    return CANCELLED
  end
  return job[LOST] + 1 >= queue.max_deliveries and DEAD or WAITING
end
