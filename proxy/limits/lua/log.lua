-- Sliding log, as in algorithms/log.py. The state is the stored text itself: the units that were counted before the first
-- instant, then for each instant its microseconds and the units counted up to it. All have a fixed width, so that the
-- window's begin is found by bisection and nothing else of the text is read. Counts go round at `around`.
local head, record, around = 6, 22, 1000000
local first_digits, last_digits = '^' .. string.rep('%d', head + record), '^' .. string.rep('%d', record)

local function log_read(text)
  -- both ends are enough to tell that somebody else wrote it; to look through all of it takes longer than to decide
  if #text > head and (#text - head) % record == 0 and string.find(text, first_digits)
    and string.find(string.sub(text, -record), last_digits) then
    return text
  end
end

local function log_write(state)
  return state
end

local function instant(state, at)
  return tonumber(string.sub(state, head + at * record - 21, head + at * record - 6))
end

-- Units counted up to the record `at`; up to the one before the first, for 0.
local function counted(state, at)
  return tonumber(string.sub(state, head + at * record - 5, head + at * record))
end

local function microseconds(seconds)
  return math.floor(seconds * 1000000 + 0.5)
end

local function log_full_at(state, numbers)
  return (instant(state, (#state - head) / record) + numbers[2]) / 1000000
end

-- How many records hold a value up to `most`, which `of` reads and which never falls from one record to the next.
local function up_to(state, of, most)
  local low, high = 0, (#state - head) / record
  while low < high do
    local middle = math.floor((low + high + 1) / 2)
    if of(state, middle) <= most then
      low = middle
    else
      high = middle - 1
    end
  end
  return low
end

-- Without what happened at the horizon or before it; then the units that are left, and the records.
local function kept(state, horizon)
  if not state then
    return '000000', 0, 0
  end
  local left = up_to(state, instant, horizon)
  if left > 0 then
    state = string.sub(state, head + left * record - 5)
  end
  local records = (#state - head) / record
  return state, (counted(state, records) - counted(state, 0)) % around, records
end

local function added(state, records, at, units)
  local total = string.format('%06.0f', (counted(state, records) + units) % around)
  if records > 0 and instant(state, records) >= at then
    return string.sub(state, 1, -7) .. total
  end
  return state .. string.format('%016.0f', at) .. total
end

-- numbers: quota, window_us
local function log_step(state, now, numbers, cost)
  local quota, window = numbers[1], numbers[2]
  local at = microseconds(now)
  local text, total, records = kept(state, at - window)
  local new_total = total + cost
  if new_total <= quota then
    if cost > 0 then
      text = added(text, records, at, cost)
      records = (#text - head) / record
    end
    local remaining = quota - new_total
    local reset = new_total > 0 and instant(text, remaining > 0 and records or 1) + window - at or 0
    return true, text, remaining, reset / 1000000, 0
  end
  local remaining = math.max(quota - total, 0)
  local reset = total > 0 and instant(text, remaining > 0 and records or 1) + window - at or 0
  if cost > quota then
    return false, state, remaining, reset / 1000000, math.huge
  end
  -- with the last of these, enough has left
  local base = counted(text, 0)
  local function gone(state, i)
    return (counted(state, i) - base) % around
  end
  local leaves = up_to(text, gone, new_total - quota - 1) + 1
  return false, state, remaining, reset / 1000000, (instant(text, leaves) + window - at) / 1000000
end
