-- Dead letters of a queue whose time is not over: the named ones, or all, oldest death first.
local function is_over(queue, id)
  local ending = call('ZSCORE', queue.dying, id)
  return ending and tonumber(ending) <= now
end

local function letters(queue, first)
  local found, seen = {}, {}
  local ids = ARGV[first] == 'all' and call('ZRANGE', queue.dead, 0, -1) or {}
  for place = first + 1, #ARGV do
    ids[#ids + 1] = ARGV[place]
  end
  for _, id in ipairs(ids) do
    if not seen[id] and call('ZSCORE', queue.dead, id) and not is_over(queue, id) then
      seen[id] = true
      found[#found + 1] = id
    end
  end
  return found
end
