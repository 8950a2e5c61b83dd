#!lua flags=no-writes
-- Lists the jobs of a holder whose cancelling was asked for.
--
-- KEYS[1]  the namespace
-- ARGV[1]  seconds added to the server's time (0 outside tests)
-- ARGV[2]  the holder
-- Returns  their ids
return redis.call('ZRANGEBYSCORE', KEYS[1] .. ':cancelling', ARGV[2], ARGV[2])
