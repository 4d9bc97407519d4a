-- Corrections of a sliding log, as in algorithms/log.py.
local function log_adjust(state, now, numbers, units, age)
  local quota, window = numbers[1], numbers[2]
  local at = microseconds(now)
  local text, total, records = kept(state, at - window)
  if units > 0 then
    units = math.min(units, quota - total)
    return units > 0 and added(text, records, at, units) or total > 0 and text
  end
  if total == 0 then
    return false
  end
  local charged = at - microseconds(age)
  if charged <= at - window then
    return text
  end
  local counts = {}
  for i = 1, records do
    counts[i] = (counted(text, i) - counted(text, i - 1)) % around
  end
  local function give_back(i)
    local back = math.min(counts[i], -units)
    counts[i] = counts[i] - back
    units = units + back
  end
  local own = up_to(text, instant, charged)
  for i = own, 1, -1 do
    give_back(i)
  end
  for i = own + 1, records do
    give_back(i)
  end
  local parts, sum = { '000000' }, 0
  for i = 1, records do
    if counts[i] > 0 then
      sum = sum + counts[i]
      parts[#parts + 1] = string.format('%016.0f%06.0f', instant(text, i), sum)
    end
  end
  return #parts > 1 and table.concat(parts)
end
