-- GCRA, as in algorithms/gcra.py. The state is one number: when the bucket is full again.
local gcra_read = tonumber

-- The server writes a number with as many digits as it takes to read the same one, and quicker than we could here.
local function gcra_write(tat)
  return tat
end

local gcra_full_at = gcra_write

-- numbers: interval_s, capacity_s, tolerance_s, delay_s
local function gcra_step(state, now, numbers, cost)
  local interval, capacity, tolerance, delay = numbers[1], numbers[2], numbers[3], numbers[4]
  local tat = state
  if not tat or tat < now then
    tat = now
  end
  local new_tat = tat + cost * interval
  local full_in = new_tat - now
  local spare = tolerance - full_in
  if spare >= 0 then
    local remaining = math.floor(spare / interval)
    if remaining == 0 then
      return true, new_tat, 0, full_in + interval - capacity, 0
    end
    return true, new_tat, remaining, full_in, 0
  end
  full_in = tat - now
  local remaining = math.floor((tolerance - full_in) / interval)
  local wait = math.huge
  if cost * interval <= tolerance then
    wait = new_tat - now - capacity
  end
  if delay > 0 and wait <= delay + tolerance - capacity then
    return true, new_tat, 0, new_tat - now + interval - capacity, math.min(wait, delay)
  end
  if remaining > 0 then
    return false, tat, remaining, full_in, wait - delay
  end
  return false, tat, 0, full_in + interval - capacity, wait - delay
end
