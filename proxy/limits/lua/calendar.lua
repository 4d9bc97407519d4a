-- Fixed windows of a calendar, as in algorithms/calendar.py; needs fixed.lua. numbers: quota, window_s, instants at which windows end, ascending.
local calendar_read, calendar_write, calendar_full_at = fixed_read, fixed_write, fixed_full_at

local function end_after(now, numbers)
  for i = 3, #numbers do
    if numbers[i] > now then
      return numbers[i]
    end
  end
  return now + numbers[2]
end

local function calendar_step(state, now, numbers, cost)
  if not state or state[1] <= now then
    state = { end_after(now, numbers), 0 }
  end
  return fixed_step(state, now, numbers, cost)
end
