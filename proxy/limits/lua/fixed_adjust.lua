-- Corrections of fixed windows (what they are: gcra_adjust.lua), as in algorithms/fixed.py.
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

local function fixed_adjust(state, now, numbers, units, age)
  local quota, window = numbers[1], numbers[2]
  if not state or state[1] <= now then
    return units > 0 and { now + window, math.min(units, quota) } or false
  end
  return adjust_open(state, state[1] - window, now, quota, units, age)
end
