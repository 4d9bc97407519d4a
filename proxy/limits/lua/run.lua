-- The words of the call, one after the other; then what they changed is written.

local first = 1
for word in string.gmatch(ARGV[1], '%S+') do
  local limits = tonumber(word)
  local kind, text
  if not limits then
    kind, text = string.match(word, '^(%w+):?(.*)$')
    limits = tonumber(kind)
  end
  if limits then
    decide(first, first + limits - 1, text)
    first = first + limits
  else
    local policy = policy_of(ARGV[first + 1])
    local passed, wait = others[kind](first, policy, state_of(KEYS[first], policy), text)
    local _, _, remaining, reset = policy.step(state_of(KEYS[first], policy), now, policy.numbers, 0)
    answer(first, remaining, reset, passed, wait)
    first = first + 1
  end
end

for key, policy in pairs(written_by) do
  local state = states[key]
  if state then
    local full_in_ms = ceil((policy.algorithm.full_at(state, policy.numbers) - now) * 1000)
    call('SET', key, policy.algorithm.write(state), 'PX', full_in_ms + 1)
  else
    call('DEL', key)
  end
end
return reply
