-- What is not a decision: each is about one key of one limit. Gives what `answer` wants to know: passed, and the wait.

local others = {}

function others.a(i, policy, state, text)
  local units, age = string.match(text, '^(%S+):(%S+)$')
  if not policy.held then
    state = policy.algorithm.adjust(state, now, policy.numbers, tonumber(units), tonumber(age) / 1000000)
    states[KEYS[i]] = state
    written_by[KEYS[i]] = policy
  end
  return true, 0
end

function others.e(i, policy, state, member)
  if inflight.renew(state, member, now, policy.numbers) then
    return true, 0
  end
  local _, _, _, _, wait = inflight.step(state, now, policy.numbers, 1)
  return false, wait
end

function others.d(i, policy, state, member)
  inflight.release(state, member, now)
  return true, 0
end

function others.p(i, policy, state)
  local passed, _, _, _, wait = policy.step(state, now, policy.numbers, policy.cost)
  return passed, wait
end

function others.x(i, policy)
  redis.call('DEL', KEYS[i])
  states[KEYS[i]] = nil
  written_by[KEYS[i]] = nil
  return true, 0
end
