#!lua flags=no-writes
-- Lists the queues.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- Returns  name, type, options as JSON, for each queue one after the other
--- @include base
local found = {}
local listed = call('HGETALL', QUEUES)
for place = 1, #listed, 2 do
  local _, kind, _, _, options = cmsgpack.unpack(listed[place + 1])
  found[#found + 1] = listed[place]
  found[#found + 1] = kind
  found[#found + 1] = options
end
return found
