-- For wrk: requests of one kind, and one line of figures at the end. Arguments after `--`: the kind and a token.
--   health | series | top   GET, the same each time
--   push                    POST of a collector's statistics, another body each time

local paths = {
  health = "/api/v1/health",
  series = "/api/v1/series?metric=database&column=xact_commit&rate=true&hours=1",
  top = "/api/v1/queries/top?hours=1&limit=20",
  push = "/api/v1/metrics/push",
}
local kind, began, sent = "", os.time(), 0

function init(arguments)
  kind = arguments[1]
  wrk.headers["Authorization"] = "Bearer " .. arguments[2]
  if kind == "push" then
    wrk.method = "POST"
    wrk.headers["Content-Type"] = "application/json"
  end
end

function request()
  if kind ~= "push" then
    return wrk.format(nil, paths[kind])
  end
  sent = sent + 1
  -- Readings of different seconds, so that none is a repeat of another.
  local at = os.date("!%Y-%m-%dT%H:%M:%SZ", began - 80000 + sent)
  return wrk.format(nil, paths.push, nil, string.format(
    '{"collector_id":"pushes","hostname":"pushes","timestamp":"%s","version":"3.2.0","metrics_count":1,"metrics":[' ..
    '{"type":"pg_stats","timestamp":"%s","database":"app","transactions_committed":%d,"transactions_rolled_back":%d,' ..
    '"blocks_read":%d,"blocks_hit":%d}]}', at, at, sent * 10, sent, sent * 3, sent * 50))
end

function done(summary, latency)
  io.write(string.format("figures %d %.3f %.3f %.3f %d\n", summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
