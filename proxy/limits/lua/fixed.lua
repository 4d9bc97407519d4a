-- Fixed window, as in algorithms/fixed.py. The state is {end of the window, units used in it}.
local function fixed_read(text)
  local end_at, used = string.match(text, '^(%S+) (%S+)$')
  end_at, used = tonumber(end_at), tonumber(used)
  if end_at and used then
    return { end_at, used }
  end
end

local function fixed_write(state)
  return string.format('%.17g %.0f', state[1], state[2])
end

local function fixed_full_at(state)
  return state[1]
end

-- numbers: quota, window_s
local function fixed_step(state, now, numbers, cost)
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
