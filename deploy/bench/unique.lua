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
