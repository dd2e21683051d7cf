-- Every request hashes the same string.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"string":"hello world"}'
