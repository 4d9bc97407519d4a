-- Corrections of a sliding window, as in algorithms/sliding.py; needs sliding.lua.
local function sliding_adjust(state, now, numbers, units, age)
  local quota, window, width = numbers[1], numbers[2], numbers[3]
  local kept, total = kept_in(state, now, window)
  if units > 0 then
    local end_at = (math.floor(now / width) + 1) * width
    units = math.max(math.min(units, quota - total), 0)
    if #kept > 0 and kept[#kept - 1] >= end_at then
      kept[#kept] = kept[#kept] + units
    else
      kept[#kept + 1] = end_at
      kept[#kept + 1] = units
    end
  else
    local own_at = (math.floor((now - age) / width) + 1) * width
    if own_at <= now - window then
      units = 0
    end
    local own = 0
    while kept[own + 1] and kept[own + 1] <= own_at do
      own = own + 2
    end
    -- its own bucket, then older ones, then newer ones
    local function give_back(at)
      local back = math.min(kept[at], -units)
      kept[at] = kept[at] - back
      units = units + back
    end
    for at = own, 2, -2 do
      give_back(at)
    end
    for at = own + 2, #kept, 2 do
      give_back(at)
    end
  end
  local left = {}
  for at = 1, #kept, 2 do
    if kept[at + 1] > 0 then
      left[#left + 1] = kept[at]
      left[#left + 1] = kept[at + 1]
    end
  end
  return #left > 0 and left
end
