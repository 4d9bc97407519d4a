-- What every call begins with. The algorithms that it needs stand before this text; behind it stands single.lua, if the
-- call is one request and nothing else, or else decide.lua, errands.lua if there are any, and run.lua. What is not needed
-- is left out: functions, tables and what they refer to are made anew for each call, which costs more than to run them.
--
-- KEYS: one for each limit of each request, and one for each correction, in order.
-- ARGV[1]: what to do, words joined by spaces:
--   3            decide a request of three limits
--   3:member     the same; `member` is who holds the leases of those that are in-flight limits
--   a:units:us   adjust by that many units what was admitted that many microseconds ago (the rest have one limit each)
--   e:member     extend a lease
--   d:member     drop a lease
--   p            peek: what would a request find?
--   x            reset: the key has everything again
-- ARGV[i + 1]: for KEYS[i], "algorithm cost enforced number number ...".
-- Reply: three integers for each key: remaining units, reset in us, and whether it passed: 0 yes, n > 0 no, but after n us,
-- -1 no, never, n < -1 yes, and it must wait -1 - n us before it goes on.
--
-- A request is charged on all of its limits or, if one that is enforced refuses, on none. One that is not enforced is
-- charged if it passed itself and the request did. A refused request writes nothing. The clock is the server's: clients
-- whose clocks differ share one truth.

-- Seconds since 2025: as a double it resolves 0.01 us, which seconds since 1970 do not.
local call, match, ceil, max = redis.call, string.match, math.ceil, math.max
local time = call('TIME')
local now = (tonumber(time[1]) - 1735689600) + tonumber(time[2]) / 1000000
