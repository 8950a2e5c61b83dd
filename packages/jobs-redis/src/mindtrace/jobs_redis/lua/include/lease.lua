-- Hands jobs out: each gets the next delivery number and is written as its holder's.
local function plain_facts(job)
  return job[NUMBER] == 1 and job[ATTEMPTS] == 0 and job[LOST] == 0 and job[PRIORITY] == '0'
    and not job[KEEP]
end

-- What a delivery tells besides id and body: the entry alone where all else is as at first.
local function facts_of(job)
  if plain_facts(job) then
    return job[SEQ]
  end
  local keep = job[KEEP] and exact(job[KEEP]) or '-'
  return string.format(
    '%d %d %d %d %s %s', job[SEQ], job[NUMBER], job[ATTEMPTS], job[LOST], job[PRIORITY], keep)
end

local function lease(id, job, queue, holder, member)
  if job[EXPIRES] > 0 then
    call('ZREM', queue.expiring, member)
  end
  job[STATE], job[DUE], job[NUMBER] = LEASED, 0, job[NUMBER] + 1
end
