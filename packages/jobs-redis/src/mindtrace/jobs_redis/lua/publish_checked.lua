#!lua
-- Adds jobs to a queue, all of them or none, whatever is known of their ids and dedup keys.
--
-- Safe to repeat: an id that is in this queue unfinished is returned and adds nothing.
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the queue's name
-- ARGV[3]  '1' if an earlier call with the same jobs may have succeeded: ids that have finished
--          in this queue are those jobs then
-- then for each job: id, body, and '' or JSON: as publish.lua, and y dedup key, w seconds for
--          which the key counts
-- Returns  0 when every job stands under its own id, else the list of ids;
--          or {'missing'} without such a queue, {'duplicate', id, queue, state}
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
--- @include adding
local count = (#ARGV - 3) / 3

local function key_counts(key)
  local packed = call('HGET', queue.keys, key)
  local known = packed and cmsgpack.unpack(packed)
  if not known then
    return nil
  end
  local job = known[3] <= now and job_of(known[1])
  if known[3] > now or (job and job[SEQ] == known[2] and job[STATE] < DEAD) then
    return known[1]
  end
end

local function facts_at(place)
  local said = ARGV[3 * place + 3]
  return said ~= '' and cjson.decode(said)
end

-- first look at all of them, then write
local taken = {}
for place = 1, count do
  local id = ARGV[3 * place + 1]
  local job = job_of(id) and current(id)
  if job then
    taken[id] = true
    local again = ARGV[3] == '1' and job[QUEUE] == queue.number
    if job[QUEUE] ~= queue.number or (job[STATE] >= DEAD and not again) then
      -- a key that counts answers before the id is looked at
      local facts = facts_at(place)
      if not (facts and facts.y and key_counts(facts.y)) then
        return duplicate(id, job)
      end
    end
  end
end

local last = call('INCRBY', base .. ':entries', count) - count
local answers, own_ids = {}, true
for place = 1, count do
  local id, facts = ARGV[3 * place + 1], facts_at(place)
  local known = facts and facts.y and key_counts(facts.y)
  answers[place] = known or id
  own_ids = own_ids and answers[place] == id
  if not known and not taken[id] then
    taken[id] = true
    local job = add(id, ARGV[3 * place + 2], facts, last + place)
    if job[KEY] then
      local key = cmsgpack.pack({id, job[SEQ], now + (facts.w or 0)})
      call('HSET', queue.keys, job[KEY], key)
      call('ZREM', queue.fading, job[KEY])
    end
    if job[KEY] or #jobs >= CHUNK then
      write()
    end
  end
end
write()
ring(queue.name)
return own_ids and 0 or answers
