-- GCRA, as in algorithms/gcra.py. The state is one number: when the bucket is full again.
local gcra = {}

function gcra.read(text)
  return tonumber(text)
end

function gcra.write(tat)
  return string.format('%.17g', tat)
end

function gcra.full_at(tat)
  return tat
end

-- numbers: interval_s, capacity_s, tolerance_s
function gcra.step(state, now, numbers, cost)
  local interval, capacity, tolerance = numbers[1], numbers[2], numbers[3]
  local tat = state
  if not tat or tat < now then
    tat = now
  end
  local new_tat = tat + cost * interval
  local spare = tolerance - (new_tat - now)
  if spare >= 0 then
    local remaining = math.floor(spare / interval)
    local full_in = new_tat - now
    if remaining == 0 then
      return true, new_tat, 0, full_in + interval - capacity, 0
    end
    return true, new_tat, remaining, full_in, 0
  end
  local full_in = tat - now
  local remaining = math.floor((tolerance - full_in) / interval)
  local retry_after = math.huge
  if cost * interval <= tolerance then
    retry_after = new_tat - now - capacity
  end
  if remaining > 0 then
    return false, tat, remaining, full_in, retry_after
  end
  return false, tat, 0, full_in + interval - capacity, retry_after
end
