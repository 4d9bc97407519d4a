-- The holder is alive and still at it.  KEYS  lock.  ARGV  fence; life in ms.
local lock = redis.call('HMGET', KEYS[1], 'fence', 'until')
if lock[1] ~= ARGV[1] or lock[2] == '0' then return 0 end
local time = redis.call('TIME')
redis.call('HSET', KEYS[1], 'until', string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[2] * 1000))
redis.call('PEXPIRE', KEYS[1], 60000 + ARGV[2])
return 1
