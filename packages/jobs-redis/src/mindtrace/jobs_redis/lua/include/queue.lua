-- A queue with its settings and the names of its keys, looked up once in a script.
local queues_seen = {}

-- a key's name is made when it is first used: most scripts use few of them
local key_names = {
  __index = function(queue, part)
    local key = queue.root .. part
    queue[part] = key
    return key
  end,
}

local function queue_named(name)
  local packed = call('HGET', QUEUES, name)
  if not packed then
    return nil
  end
  local number, kind, most, ttl, options = cmsgpack.unpack(packed)
  local queue = setmetatable({
    name = name, number = number, type = kind, max_deliveries = most, dead_ttl = ttl,
    options = options, length = kind == 'priority' and 31 or 15, root = root_of(number),
  }, key_names)
  queues_seen[number] = queue
  return queue
end

local function queue_numbered(number)
  return queues_seen[number] or queue_named(call('HGET', NAMES, number))
end

local function all_queues()
  local found = {}
  for _, name in ipairs(call('HKEYS', QUEUES)) do
    found[#found + 1] = queue_named(name)
  end
  return found
end

local function id_of(queue, member)
  return string.sub(member, queue.length + 1)
end

local function member_of(id, job)
  return place_of(job) .. id
end
