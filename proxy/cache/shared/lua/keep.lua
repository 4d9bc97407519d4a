-- Keep what was fetched, under the newest fence only, and tell those who wait.
-- KEYS  names, variants, variant, lock.  ARGV  fence, 0 for who fetched without a lock; names; word of the variant;
-- value; its life in ms; most variants; how names of variants begin; channel; message.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local lock = redis.call('HMGET', KEYS[4], 'fence', 'until', 'awaited')
if ARGV[1] ~= '0' then
  if lock[1] ~= ARGV[1] then return 'fenced' end
elseif (lock[2] and tonumber(lock[2]) > now) or redis.call('EXISTS', KEYS[3]) == 1 then
  return 'fenced'
end
local life = tonumber(ARGV[5])
local before = redis.call('GET', KEYS[1]) or ''
if before ~= ARGV[2] then
  for _, word in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do redis.call('UNLINK', ARGV[7] .. word) end
  redis.call('UNLINK', KEYS[1], KEYS[2], ARGV[7] .. '-')
end
if ARGV[2] ~= '' then
  local longest = math.max(life, redis.call('PTTL', KEYS[2]))
  redis.call('ZADD', KEYS[2], now, ARGV[3])
  local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[6])
  if surplus > 0 then
    for _, word in ipairs(redis.call('ZRANGE', KEYS[2], 0, surplus - 1)) do
      redis.call('UNLINK', ARGV[7] .. word)
      redis.call('ZREM', KEYS[2], word)
    end
  end
  redis.call('PEXPIRE', KEYS[2], longest)
  redis.call('SET', KEYS[1], ARGV[2], 'PX', longest)
end
redis.call('SET', KEYS[3], ARGV[4], 'PX', life)
if ARGV[1] ~= '0' then
  redis.call('HSET', KEYS[4], 'until', 0)
  if lock[3] then
    redis.call('HDEL', KEYS[4], 'awaited')
    redis.call('PUBLISH', ARGV[8], ARGV[9])
  end
end
return 'kept'
