-- Fixed windows of a calendar, as in algorithms/calendar.py; needs fixed.lua. numbers: quota, window_s, instants at which windows end, ascending.
local calendar = { read = fixed.read, write = fixed.write, full_at = fixed.full_at }

local function end_after(now, numbers)
  for i = 3, #numbers do
    if numbers[i] > now then
      return numbers[i]
    end
  end
  return now + numbers[2]
end

function calendar.step(state, now, numbers, cost)
  if not state or state[1] <= now then
    state = { end_after(now, numbers), 0 }
  end
  return fixed.step(state, now, numbers, cost)
end

function calendar.adjust(state, now, numbers, units, age)
  local quota = numbers[1]
  if not state or state[1] <= now then
    return units > 0 and { end_after(now, numbers), math.min(units, quota) } or false
  end
  local begins_at
  for i = 3, #numbers do
    if numbers[i] < state[1] - grain then
      begins_at = numbers[i]
    end
  end
  return adjust_open(state, begins_at or state[1] - numbers[2], now, quota, units, age)
end
