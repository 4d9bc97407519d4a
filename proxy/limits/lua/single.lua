-- Decides one request that holds no leases, alone in its call: where little is asked nearly all calls are like that. What
-- decide.lua keeps for requests that share keys and limits would take most of the time; so would functions here.

local reply, texts, lives = {}, {}, {}
local all_passed = true
for i = 1, #KEYS do
  local name, cost, enforced, a, b, c, d, rest = match(ARGV[i + 1], '^(%a+) (%S+) (%S+) (%S+) ?(%S*) ?(%S*) ?(%S*) ?(.*)$')
  local numbers = { tonumber(a), tonumber(b), tonumber(c), tonumber(d) }
  if rest ~= '' then
    for word in string.gmatch(rest, '%S+') do
      numbers[#numbers + 1] = tonumber(word)
    end
  end
  local read, step, write, full_at
  if name == 'gcra' then
    read, step, write, full_at = gcra_read, gcra_step, gcra_write, gcra_full_at
  elseif name == 'fixed' then
    read, step, write, full_at = fixed_read, fixed_step, fixed_write, fixed_full_at
  elseif name == 'calendar' then
    read, step, write, full_at = calendar_read, calendar_step, calendar_write, calendar_full_at
  elseif name == 'sliding' then
    read, step, write, full_at = sliding_read, sliding_step, sliding_write, sliding_full_at
  else
    read, step, write, full_at = log_read, log_step, log_write, log_full_at
  end
  local text = call('GET', KEYS[i])
  local passed, state, remaining, reset, wait = step(text and read(text), now, numbers, tonumber(cost))
  reply[3 * i - 2] = remaining
  reply[3 * i - 1] = ceil(reset * 1000000)
  if passed then
    reply[3 * i] = wait > 0 and -1 - max(ceil(wait * 1000000), 1) or 0
    if state then
      texts[i] = write(state)
      lives[i] = ceil((full_at(state, numbers) - now) * 1000) + 1
    end
  else
    reply[3 * i] = wait == math.huge and -1 or max(ceil(wait * 1000000), 1)
    if enforced == '1' then
      all_passed = false
    end
  end
end
if all_passed then
  for i = 1, #KEYS do
    if texts[i] then
      call('SET', KEYS[i], texts[i], 'PX', lives[i])
    end
  end
end
return reply
