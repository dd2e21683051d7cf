-- Puts or gets of a number of keys in random order, or puts one after the other to fill a store, as Millrace or as
-- etcd's HTTP gateway wants them: wrk -s keys.lua URL -- millrace|etcd put|get|fill KEYS
local function base64(text)
  local letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
  return (text:gsub("..?.?", function(part)
    local number, length = 0, #part
    for place = 1, 3 do number = number * 256 + (part:byte(place) or 0) end
    local coded = ""
    for place = 3, 0, -1 do
      local digit = math.floor(number / 64 ^ place) % 64
      coded = coded .. (3 - place <= length and letters:sub(digit + 1, digit + 1) or "=")
    end
    return coded
  end))
end

local requests, next, fills = {}, 0, false

function init(arguments)
  local server, action, keys = arguments[1], arguments[2], tonumber(arguments[3])
  fills = action == "fill"
  if fills then action = "put" end
  math.randomseed(tonumber(tostring({}):match("0x(%x+)"), 16) % 2147483647)
  wrk.headers["Content-Type"] = "application/json"
  local value = string.rep("v", 100)
  for number = 1, keys do
    local key = "key-" .. number
    if server == "etcd" then
      local body = '{"key":"' .. base64(key) .. '"'
      if action == "put" then body = body .. ',"value":"' .. base64(value) .. '"' end
      requests[number] = wrk.format("POST", action == "put" and "/v3/kv/put" or "/v3/kv/range", nil, body .. "}")
    elseif action == "put" then
      requests[number] = wrk.format("PUT", "/put/" .. key, nil, '{"value":"' .. value .. '"}')
    else
      requests[number] = wrk.format("GET", "/get/" .. key)
    end
  end
end

function request()
  if not fills then return requests[math.random(#requests)] end
  next = next % #requests + 1
  return requests[next]
end

-- What wrk itself prints ends with the 99th percentile.
function done(summary, latency)
  local line = "milliseconds:"
  for _, share in ipairs({50, 99, 99.9}) do line = line .. string.format(" %.2f", latency:percentile(share) / 1000) end
  print(line)
end
