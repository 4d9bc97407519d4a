-- One round trip for a miss: what is there, or the right to fetch it.
-- KEYS  names, variant, lock, variant where nothing selects.  ARGV  names that the caller goes by; life of a lock in ms, 0 for none; first bytes of
-- the value that the caller knows already.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local stamp = string.format('%.0f', now)
local names = redis.call('GET', KEYS[1])
if names and names ~= ARGV[1] then return {'names', stamp, names} end
-- where nothing is known the caller's guess is as good as any
if not names and ARGV[1] ~= '' and redis.call('EXISTS', KEYS[4]) == 1 then return {'names', stamp, ''} end
local head = redis.call('GETRANGE', KEYS[2], 0, 5)
if head ~= '' and head ~= ARGV[3] then return {'value', stamp, redis.call('GET', KEYS[2])} end
local life = tonumber(ARGV[2])
if life == 0 then return {'none', stamp} end
local lock = redis.call('HMGET', KEYS[3], 'fence', 'until', 'alone', 'word')
if lock[3] and tonumber(lock[3]) > now then return {'alone', stamp, lock[4]} end
if lock[2] and tonumber(lock[2]) > now then
  redis.call('HSET', KEYS[3], 'awaited', 1)
  return {'held', stamp, string.format('%.0f', lock[2] - now)}
end
-- a fence grows whatever happens: also when this key was evicted, or the lock has run out
local fence = string.format('%.0f', math.max(now, (tonumber(lock[1]) or 0) + 1))
redis.call('HSET', KEYS[3], 'fence', fence, 'until', string.format('%.0f', now + life * 1000))
redis.call('PEXPIRE', KEYS[3], 60000 + life)
return {'lease', stamp, fence}
