-- Fixed window, as in algorithms/fixed.py. The state is {end of the window, units used in it}.
local fixed = {}

function fixed.read(text)
  local end_at, used = string.match(text, '^(%S+) (%S+)$')
  end_at, used = tonumber(end_at), tonumber(used)
  if end_at and used then
    return { end_at, used }
  end
end

function fixed.write(state)
  return string.format('%.17g %.0f', state[1], state[2])
end

function fixed.full_at(state)
  return state[1]
end

-- numbers: quota, window_s
function fixed.step(state, now, numbers, cost)
  local quota, window = numbers[1], numbers[2]
  local end_at, used = now + window, 0
  if state and state[1] > now then
    end_at, used = state[1], state[2]
  end
  local new_used = used + cost
  local reset = end_at - now
  if new_used <= quota then
    return true, { end_at, new_used }, quota - new_used, new_used > 0 and reset or 0, 0
  end
  return false, state, math.max(quota - used, 0), used > 0 and reset or 0, cost <= quota and reset or math.huge
end

local grain = 0.000002

local function adjust_open(state, begins_at, now, quota, units, age)
  local end_at, used = state[1], state[2]
  if units > 0 then
    return { end_at, math.max(used, math.min(used + units, quota)) }
  end
  if now - age < begins_at - grain then
    return state
  end
  return used + units > 0 and { end_at, used + units } or false
end

function fixed.adjust(state, now, numbers, units, age)
  local quota, window = numbers[1], numbers[2]
  if not state or state[1] <= now then
    return units > 0 and { now + window, math.min(units, quota) } or false
  end
  return adjust_open(state, state[1] - window, now, quota, units, age)
end
