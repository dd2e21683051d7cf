-- Every request bears the token of a user.
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
