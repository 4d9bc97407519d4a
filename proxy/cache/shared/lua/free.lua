-- Give a lock back with nothing to show for it.
-- KEYS  lock.  ARGV  fence; for how many ms nobody need wait for anybody; channel; message: a word and the lock.
local lock = redis.call('HMGET', KEYS[1], 'fence', 'awaited')
if lock[1] ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'until', 0)
if ARGV[2] ~= '0' then
  local time = redis.call('TIME')
  local ends = string.format('%.0f', time[1] * 1000000 + time[2] + ARGV[2] * 1000)
  redis.call('HSET', KEYS[1], 'alone', ends, 'word', string.sub(ARGV[4], 1, 1))
end
if lock[2] then
  redis.call('HDEL', KEYS[1], 'awaited')
  redis.call('PUBLISH', ARGV[3], ARGV[4])
end
return 1
