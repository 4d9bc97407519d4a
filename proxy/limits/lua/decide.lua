-- Decides many requests, each with one or more limits. Later ones see what earlier ones did.

-- The same policy comes many times in a call: it is read once.
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
      held = name == 'inflight',
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
