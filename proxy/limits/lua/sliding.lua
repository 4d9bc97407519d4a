-- Sliding window, as in algorithms/sliding.py. The state is a flat list, oldest bucket first: {end, units, end, units}.
local function sliding_read(text)
  local state = {}
  for end_at, units in string.gmatch(text, '(%S+) (%S+)') do
    state[#state + 1] = tonumber(end_at) or 0
    state[#state + 1] = tonumber(units) or 0
  end
  if #state > 0 then
    return state
  end
end

local function sliding_write(state)
  local parts = {}
  for at = 1, #state, 2 do
    parts[#parts + 1] = string.format('%.17g %.0f', state[at], state[at + 1])
  end
  return table.concat(parts, ' ')
end

local function sliding_full_at(state, numbers)
  return state[#state - 1] + numbers[2]
end

-- The buckets that the window still holds, and the units in them.
local function kept_in(state, now, window)
  local kept, total = {}, 0
  if state then
    for at = 1, #state, 2 do
      if state[at] > now - window then
        kept[#kept + 1] = state[at]
        kept[#kept + 1] = state[at + 1]
        total = total + state[at + 1]
      end
    end
  end
  return kept, total
end

-- The time until `surplus` units have left the window.
local function back_in(state, now, window, surplus)
  for at = 1, #state, 2 do
    surplus = surplus - state[at + 1]
    if surplus <= 0 then
      return state[at] + window - now
    end
  end
end

-- numbers: quota, window_s, width_s of a bucket
local function sliding_step(state, now, numbers, cost)
  local quota, window, width = numbers[1], numbers[2], numbers[3]
  local end_at = (math.floor(now / width) + 1) * width
  local kept, total = kept_in(state, now, window)
  local new_total = total + cost
  if new_total > quota then
    local remaining = math.max(quota - total, 0)
    local full_in = total > 0 and kept[#kept - 1] + window - now or 0
    local retry_after = math.huge
    if cost <= quota then
      retry_after = back_in(kept, now, window, new_total - quota)
    end
    return false, state, remaining, (remaining > 0 or total == 0) and full_in or kept[1] + window - now, retry_after
  end
  if #kept > 0 and kept[#kept - 1] >= end_at then
    kept[#kept] = kept[#kept] + cost
  elseif cost > 0 then
    kept[#kept + 1] = end_at
    kept[#kept + 1] = cost
  end
  local remaining = quota - new_total
  local back_at = remaining > 0 and kept[#kept - 1] or kept[1]
  return true, kept, remaining, new_total > 0 and back_at + window - now or 0, 0
end
