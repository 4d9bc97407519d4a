-- Decides many requests, each with one or more limits, and corrects what earlier ones were charged, all in one call. The
-- algorithms that the call needs stand before this text, each in `algorithms`; behind it errands.lua, if there are any in
-- the call, and run.lua. What is not needed is left out: to make a function costs the store more than to run it.
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
-- charged if it passed itself and the request did. Later words of the call see what earlier ones did. A refused request
-- writes nothing. The clock is the server's: clients whose clocks differ share one truth.

-- Seconds since 2025: as a double it resolves 0.01 us, which seconds since 1970 do not.
local call, match, ceil, max = redis.call, string.match, math.ceil, math.max
local time = call('TIME')
local now = (tonumber(time[1]) - 1735689600) + tonumber(time[2]) / 1000000

-- The same policy comes many times in a call: its numbers are read once.
local policies = {}
local function policy_of(text)
  local policy = policies[text]
  if not policy then
    local name, cost, enforced, a, b, c, d, rest = match(text, '^(%a+) (%S+) (%S+) (%S+) ?(%S*) ?(%S*) ?(%S*) ?(.*)$')
    local algorithm, numbers = algorithms[name], { tonumber(a), tonumber(b), tonumber(c), tonumber(d) }
    if rest ~= '' then
      for word in string.gmatch(rest, '%S+') do
        numbers[#numbers + 1] = tonumber(word)
      end
    end
    policy = {
      algorithm = algorithm, step = algorithm.step, cost = tonumber(cost), enforced = enforced == '1', numbers = numbers,
      held = algorithm.acquire ~= nil,
    }
    policies[text] = policy
  end
  return policy
end

-- So does a busy key: it is fetched once and written once. (Leases are written as they come.)
local states, written_by = {}, {}
local function state_of(key, policy)
  local state = states[key]
  if state == nil then
    if policy.held then
      state = inflight.load(key, now)
    else
      local text = call('GET', key)
      state = text and policy.algorithm.read(text) or false
    end
    states[key] = state
  end
  return state
end

local reply = {}
local function answer(i, remaining, reset, passed, wait)
  reply[3 * i - 2] = remaining
  reply[3 * i - 1] = ceil(reset * 1000000)
  if passed then
    reply[3 * i] = wait > 0 and -1 - max(ceil(wait * 1000000), 1) or 0
  else
    reply[3 * i] = wait == math.huge and -1 or max(ceil(wait * 1000000), 1)
  end
end

local new_states = {}
local function decide(first, last, member)
  local all_passed = true
  for i = first, last do
    local key = KEYS[i]
    local policy = policy_of(ARGV[i + 1])
    local state = states[key]
    if state == nil then
      state = state_of(key, policy)
    end
    local passed, new_state, remaining, reset, wait = policy.step(state, now, policy.numbers, policy.cost)
    new_states[i] = passed and new_state
    answer(i, remaining, reset, passed, wait)
    if not passed and policy.enforced then
      all_passed = false
    end
  end
  if all_passed then
    for i = first, last do
      local state = new_states[i]
      if state then
        local policy = policy_of(ARGV[i + 1])
        if policy.held then
          inflight.acquire(state, member, now, policy.numbers)
        else
          states[KEYS[i]] = state
          written_by[KEYS[i]] = policy
        end
      end
    end
  end
end
