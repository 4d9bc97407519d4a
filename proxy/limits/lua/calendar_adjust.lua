-- Corrections of a calendar's windows, as in algorithms/calendar.py; needs fixed_adjust.lua.
local function calendar_adjust(state, now, numbers, units, age)
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
