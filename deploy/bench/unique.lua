-- Every request hashes a string that nobody has hashed before.
local count = 0
local run

function setup(thread)
  threads = (threads or 0) + 1
  thread:set("number", threads)
end

function init(arguments)
  run = os.time() .. "-" .. tostring({}):sub(8) .. "-" .. number
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
end

function request()
  count = count + 1
  return wrk.format(nil, nil, nil, '{"string":"' .. run .. "-" .. count .. '"}')
end

-- What wrk itself prints ends with the 99th percentile.
function done(summary, latency)
  local line = "milliseconds:"
  for _, share in ipairs({50, 99, 99.9}) do line = line .. string.format(" %.2f", latency:percentile(share) / 1000) end
  print(line)
end
