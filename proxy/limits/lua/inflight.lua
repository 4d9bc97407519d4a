-- In flight, as in algorithms/inflight.py. The state lives in a sorted set, names scored by the ends of their leases. What
-- is passed around is {key of the set, how many are held now}.
local inflight = {}

local function seconds(number)
  return string.format('%.17g', number)
end

function inflight.load(key, now)
  return { key = key, held = redis.call('ZCOUNT', key, '(' .. seconds(now), '+inf') }
end

local function first_at(state, now)
  local found = redis.call('ZRANGEBYSCORE', state.key, '(' .. seconds(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return found[2] and tonumber(found[2]) or now
end

local function last_at(state, now)
  local found = redis.call('ZREVRANGE', state.key, 0, 0, 'WITHSCORES')
  return found[2] and math.max(tonumber(found[2]), now) or now
end

-- numbers: limit, lease_s
function inflight.step(state, now, numbers, cost)
  local limit, lease = numbers[1], numbers[2]
  local new_held = state.held + cost
  if new_held <= limit then
    local remaining = limit - new_held
    if new_held == 0 then
      return true, state, remaining, 0, 0
    end
    if remaining > 0 then
      return true, state, remaining, cost > 0 and lease or last_at(state, now) - now, 0
    end
    return true, state, 0, state.held > 0 and first_at(state, now) - now or lease, 0
  end
  local first_in = first_at(state, now) - now
  return false, state, math.max(limit - state.held, 0), first_in, first_in
end

function inflight.acquire(state, member, now, numbers)
  local key = state.key
  redis.call('ZREMRANGEBYSCORE', key, '-inf', seconds(now))
  state.held = state.held + redis.call('ZADD', key, seconds(now + numbers[2]), member)
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil((last_at(state, now) - now) * 1000) + 1))
end

-- Whether it is held. One that has ended is taken again if there is room.
function inflight.renew(state, member, now, numbers)
  local end_at = tonumber(redis.call('ZSCORE', state.key, member) or now)
  if end_at <= now and state.held >= numbers[1] then
    return false
  end
  inflight.acquire(state, member, now, numbers)
  return true
end

function inflight.release(state, member, now)
  local end_at = tonumber(redis.call('ZSCORE', state.key, member) or now)
  if redis.call('ZREM', state.key, member) == 1 and end_at > now then
    state.held = state.held - 1
  end
end
