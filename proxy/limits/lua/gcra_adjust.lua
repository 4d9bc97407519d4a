-- Corrections, as in algorithms/gcra.py: what `units` more, or given back (below zero), leave of the state. They are for
-- what was charged `age` seconds ago.
local function gcra_adjust(state, now, numbers, units, age)
  local interval, capacity, delay = numbers[1], numbers[2], numbers[4]
  local tat = state
  if not tat or tat < now then
    tat = now
  end
  local new_tat
  if units > 0 then
    new_tat = math.min(tat + units * interval, math.max(tat, now + capacity))
  else
    new_tat = tat - math.max(math.min(-units * interval, capacity + delay - age), 0)
  end
  return new_tat > now and new_tat or false
end
