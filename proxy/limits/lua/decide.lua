-- Decides many requests, each with one or more limits, in one call. Stands behind gcra.lua, fixed.lua and sliding.lua.
--
-- KEYS: one for each limit of each request, in order.
-- ARGV[1]: a pair for each request, "limits cost", all joined by spaces.
-- ARGV[i + 1]: for KEYS[i], "algorithm number number ...".
-- Reply: three integers for each limit: remaining units, reset in us, retry after in us (0 passed, -1 never will).
--
-- A request is charged on all of its limits or on none. Later requests of the call see what earlier ones were charged.
-- A refused request writes nothing. The clock is the server's: clients whose clocks differ share one truth.

local algorithms = { gcra = gcra, fixed = fixed, sliding = sliding }

-- Seconds since 2025: as a double it resolves 0.01 us, which seconds since 1970 do not.
local time = redis.call('TIME')
local now = (tonumber(time[1]) - 1735689600) + tonumber(time[2]) / 1000000

-- The same policy comes many times in a call: its numbers are read once.
local policies = {}
local function policy_of(text)
  local policy = policies[text]
  if not policy then
    policy = { numbers = {} }
    for word in string.gmatch(text, '%S+') do
      if policy.algorithm then
        policy.numbers[#policy.numbers + 1] = tonumber(word)
      else
        policy.algorithm = algorithms[word]
      end
    end
    policies[text] = policy
  end
  return policy
end

-- So does a busy key: it is fetched once and written once.
local states, written_by = {}, {}
local function state_of(key, policy)
  local state = states[key]
  if state == nil then
    local text = redis.call('GET', key)
    state = text and policy.algorithm.read(text) or false
    states[key] = state
  end
  return state
end

local reply = {}
local first = 1
for limits, cost in string.gmatch(ARGV[1], '(%d+) (%d+)') do
  local last = first + tonumber(limits) - 1
  cost = tonumber(cost)
  local passed, new_states = true, {}
  for i = first, last do
    local policy = policy_of(ARGV[i + 1])
    local allowed, state, remaining, reset, retry_after =
      policy.algorithm.step(state_of(KEYS[i], policy), now, policy.numbers, cost)
    new_states[i] = state
    reply[3 * i - 2] = remaining
    reply[3 * i - 1] = math.ceil(reset * 1000000)
    if allowed then
      reply[3 * i] = 0
    else
      passed = false
      reply[3 * i] = retry_after == math.huge and -1 or math.max(math.ceil(retry_after * 1000000), 1)
    end
  end
  if passed then
    for i = first, last do
      states[KEYS[i]] = new_states[i]
      written_by[KEYS[i]] = policy_of(ARGV[i + 1])
    end
  end
  first = last + 1
end

for key, policy in pairs(written_by) do
  local state = states[key]
  local full_in_ms = math.ceil((policy.algorithm.full_at(state, policy.numbers) - now) * 1000)
  redis.call('SET', key, policy.algorithm.write(state), 'PX', string.format('%.0f', full_in_ms + 1))
end
return reply
