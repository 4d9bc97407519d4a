-- wrk calls init once per thread, and done once: the last line of its output is the result as JSON, times in us.
function init(args)
  is_varied = args[2] == "varied"
  local upload_bytes = tonumber(args[1] or "0")
  if upload_bytes > 0 then
    wrk.method = "POST"
    wrk.body = string.rep("x", upload_bytes)
  end
  if is_varied then -- formatting is left to this case: it would slow the load down in the others
    local count = 0
    request = function()
      count = count + 1
      wrk.headers["X-Count"] = tostring(count)
      return wrk.format()
    end
  end
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "duration": %d, "bytes": %d, "p50": %d, "p90": %d, "p95": %d, "p99": %d, "max": %d, ' ..
    '"refused": %d, "failed": %d}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(90), latency:percentile(95), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
