import Balancer
import Balancing
import Hashing
import LoadTest
import TaskQueue
import Tasks
import Tokens
import VersionedStore

private let roles: Set<Command> = [.balance, .api, .worker, .service, .kv]
private let database: Set<Command> = [
  .api, .worker, .kv, .kvClean, .tasks, .queue, .workers, .migrate, .bench, .doctor,
]
private let databaseAndUp = database.union([.up])
private let tasks: Set<Command> = [.api, .worker]

extension Setting {
  // Everybody.
  static let logs = Setting(
    "logs", "MILLRACE_LOGS", .choice(["auto", "text", "json"]), "auto", roles.union([.up, .migrate, .bench]),
    upDefault: "text", "how log lines look; auto is text on a terminal, JSON otherwise; with `up` the default is text")
  static let logLevel = Setting(
    "log-level", "MILLRACE_LOG_LEVEL", .choice(["debug", "info", "warn", "error"]), "info",
    roles.union([.up, .migrate, .bench]), "the least important lines that are written")

  // Where to listen.
  static let port = Setting(
    "port", "MILLRACE_PORT", .integer(1...65535), "8000", [.up, .balance, .service, .kv],
    "the port that everything enters through; of a service and of a server of keys the one it listens on")
  static let host = Setting(
    "host", "MILLRACE_HOST", .text(.any), "127.0.0.1", [.up, .balance, .service, .kv],
    "the address to listen on, or a name of one; 0.0.0.0 lets other machines in")
  static let listen = Setting(
    "listen", "MILLRACE_LISTEN", .list, nil, [.api, .worker, .service, .kv],
    "where to listen, HOST:PORT or unix:/path; may be given several times; of a service and of a server of keys in the "
      + "place of MILLRACE_HOST and MILLRACE_PORT")
  static let reactors = Setting(
    "reactors", "MILLRACE_REACTORS", .integer(1...64), nil, [.up, .balance],
    "the balancer's event-loop threads; one for each processor unless set")

  // The balancer.
  static let backends = Setting(
    "backend", "BACKENDS", .list, nil, [.balance],
    "a server to send requests to, [NAME=]HOST:PORT[*WEIGHT] or [NAME=]unix:/path, or all servers that a name leads "
      + "to, [NAME=]dns:HOST:PORT, looked up every 2 s; may be given several times; "
      + "with ?resets=unread behind it, a reset on a kept connection counts as not having read the request")
  static let strategy = Setting(
    "strategy", "LB_STRATEGY", .choice(Strategy.names), "round_robin", [.up, .balance],
    "how a server is chosen for a request")
  static let rateLimit = Setting(
    "rate-limit", "RATE_LIMIT_REQUESTS", .integer(0...(.max)), "100", [.up, .balance],
    "requests that one address may send in a window; 0 turns the limit off, more than 1048575 are counted and let pass")
  static let rateWindow = Setting(
    "rate-window", "RATE_LIMIT_WINDOW", .integer(1...86_400), "60", [.up, .balance],
    "the length of that window in seconds")
  static let exposeBackend = Setting(
    "expose-backend", "LB_EXPOSE_BACKEND", .flag, "off", [.up, .balance],
    "name the chosen server in the field X-LB-Backend")
  static let backendInFlight = Setting(
    "backend-in-flight", "LB_BACKEND_IN_FLIGHT", .integer(0...1_000_000), "0", [.up, .balance],
    "requests that one server may have in flight, further ones wait up to a second; 0 for no bound")
  static let via = Setting(
    "via", "LB_VIA", .text(.pseudonym), nil, [.balance],
    "the name that the balancer adds to the field Via of requests; without one it adds none")
  static let healthPath = Setting(
    "health-path", "MILLRACE_HEALTH_PATH", .text(.requestPath), "/health", [.up, .balance],
    "the path that a server answers with 200 to 399 when it is well; servers of keys are asked for /health")

  // Compute services.
  static let services = Setting(
    "service", "SERVICES", .list, nil, [.api],
    "a compute service, [NAME=]HOST:PORT or [NAME=]unix:/path, or all that a name leads to, [NAME=]dns:HOST:PORT, "
      + "looked up every 2 s; may be given several times")
  static let serviceTimeout = Setting(
    "service-timeout", "SERVICE_TIMEOUT", .decimal(0.01...50), "5", [.up, .api],
    "how long the API waits for an answer of a compute service, in seconds")
  static let serviceId = Setting(
    "service-id", "SERVICE_ID", .text(.name), nil, [.service],
    "this compute service's name in answers; the machine's unless set")
  static let processDelay = Setting(
    "process-delay-ms", "PROCESS_DELAY_MS", .integer(0...600_000), "0", [.up, .service],
    "how long a compute service takes for each answer, in milliseconds, to see what becomes of requests")

  static let dataDelay = Setting(
    "data-delay-ms", "DATA_DELAY_MS", .integer(0...60_000), "0", [.up, .api],
    "how long reading a value of GET /data takes on purpose, in milliseconds, to see what caches are good for")

  // Who is an admin.
  static let adminToken = Setting(
    "admin-token", "ADMIN_TOKEN", .text(.token), nil, [.up, .balance, .api], isSecret: true,
    "the bearer token that allows admin calls; without it there are none by token")
  static let adminTrustLoopback = Setting(
    "admin-trust-loopback", "ADMIN_TRUST_LOOPBACK", .flag, "off", [.up, .balance, .api], upDefault: "on",
    "whether this machine's own users are admins; with `up` the default is on")

  // Tokens.
  static let tokenKeysFile = Setting(
    "token-keys-file", "TOKEN_KEYS_FILE", .text(.any), nil, [.balance, .api, .token, .cache],
    "the file of keys that tokens are signed and believed under, read again when it changes; `up` keeps one in its "
      + "folder")
  static let tokenIssuer = Setting(
    "jwt-issuer", "JWT_ISSUER", .text(.any), nil, [.up, .balance, .api, .token, .cache],
    "who makes tokens, and must have made them (`iss`); anybody who has a key unless set")
  static let tokenAudience = Setting(
    "jwt-audience", "JWT_AUDIENCE", .text(.any), nil, [.up, .balance, .api, .token, .cache],
    "for whom tokens are made, and must be (`aud`); for anybody unless set")
  static let allowUnexpiring = Setting(
    "jwt-allow-unexpiring", "JWT_ALLOW_UNEXPIRING", .flag, "off", [.up, .balance, .api, .token, .cache],
    "whether tokens without an end (`exp`) are believed too")
  static let tokenTTL = Setting(
    "token-ttl", "TOKEN_TTL", .integer(1...Tokens.Limits.lifetimeSecondsMax), "3600", [.up, .api, .token],
    "how long a new token lasts in seconds, and a former key lives after a rotation")
  static let tokenEndpoint = Setting(
    "token-endpoint", "TOKEN_ENDPOINT", .flag, "off", [.up, .api], upDefault: "on",
    "whether GET /token gives a token to whoever asks, for demonstrations; with `up` the default is on")
  static let tokenSubject = Setting(
    "subject", "MILLRACE_TOKEN_SUBJECT", .text(.name), "user", [.token], "whom a token is issued to (`sub`)")
  static let tokenScope = Setting(
    "scope", "MILLRACE_TOKEN_SCOPE", .list, nil, [.token],
    "what its bearer may do beside what every user may: admin; may be given several times")
  static let tokenAlgorithm = Setting(
    "algorithm", "MILLRACE_TOKEN_ALGORITHM", .choice(["hs256", "ed25519"]), nil, [.token],
    "what the new key of a rotation is for; the same as the former unless set, and hs256 at first")
  static let tokenDropFormer = Setting(
    "drop-former", "MILLRACE_TOKEN_DROP_FORMER", .flag, "off", [.token],
    "let no token of the former keys be good after a rotation, as when one was stolen")

  // PostgreSQL.
  static let databaseHost = Setting(
    "db-host", "DB_HOST", .list, "127.0.0.1", database,
    "PostgreSQL's host, or the folder of its Unix socket; several are tried in order")
  static let databasePort = Setting("db-port", "DB_PORT", .integer(1...65535), "5432", database, "PostgreSQL's port")
  static let databaseName = Setting(
    "db-name", "DB_NAME", .text(.any), "millrace", database,
    "the database's name; `bench` makes one of its own unless it is set")
  static let databaseUser = Setting("db-user", "DB_USER", .text(.any), "postgres", database, "the role to log in as")
  static let databasePassword = Setting(
    "db-password", "DB_PASSWORD", .text(.any), nil, database, isSecret: true, "its password")
  static let databaseTLS = Setting(
    "db-sslmode", "DB_SSLMODE", .choice(["disable", "allow", "prefer", "require", "verify_ca", "verify_full"]),
    "prefer", database,
    "how PostgreSQL is spoken to by TCP, as libpq's sslmode; verify_full lets nobody listen or pretend")
  static let databaseAuthorities = Setting(
    "db-sslrootcert", "DB_SSLROOTCERT", .text(.any), nil, database,
    "a PEM file of the authorities whose certificates PostgreSQL may have; the two verify modes need it")
  static let databaseCertificate = Setting(
    "db-sslcert", "DB_SSLCERT", .text(.any), nil, database, "a PEM file with our certificate for PostgreSQL")
  static let databaseCertificateKey = Setting(
    "db-sslkey", "DB_SSLKEY", .text(.any), nil, database, "a PEM file with its key")
  static let databaseRetries = Setting(
    "db-connection-retries", "DB_CONNECTION_RETRIES", .integer(0...1000), "5", databaseAndUp,
    "how often connecting is tried again before the failure is told")
  static let databaseBackoff = Setting(
    "db-base-backoff", "DB_BASE_BACKOFF", .decimal(0.01...60), "0.5", databaseAndUp,
    "the first pause between attempts in seconds; it doubles")
  static let databaseLimit = Setting(
    "db-connection-limit", "DB_USER_CONNECTION_LIMIT", .integer(3...1000), "20", [.up, .api, .worker, .kv],
    "connections that one process may hold; a worker needs 3")
  static let applicationName = Setting(
    "app-name", "APP_NAME", .text(.name), "millrace", databaseAndUp, "how connections are called in pg_stat_activity")

  // Redis.
  static let redisURL = Setting(
    "redis", "REDIS_URL", .text(.any), nil, tasks, isSecret: true,
    "redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], rediss:// for TLS, unix:/path, or off to work without Redis")
  static let redisHost = Setting(
    "redis-host", "REDIS_HOST", .text(.any), "127.0.0.1", tasks, "Redis' host, unless REDIS_URL is set")
  static let redisPort = Setting(
    "redis-port", "REDIS_PORT", .integer(1...65535), "6379", tasks, "Redis' port, unless REDIS_URL is set")
  static let redisPassword = Setting(
    "redis-password", "REDIS_PASSWORD", .text(.any), nil, tasks, isSecret: true,
    "Redis' password, unless REDIS_URL is set")

  static let redisUser = Setting(
    "redis-user", "REDIS_USER", .text(.any), nil, tasks, "the ACL user to log in as, unless REDIS_URL is set")
  static let redisSentinels = Setting(
    "redis-sentinels", "REDIS_SENTINELS", .list, nil, tasks,
    "HOST:PORT of the Sentinels that tell which server is master; REDIS_HOST is not used then")
  static let redisMaster = Setting(
    "redis-master", "REDIS_MASTER", .text(.name), "mymaster", tasks, "how the Sentinels call the master")
  static let redisSentinelPassword = Setting(
    "redis-sentinel-password", "REDIS_SENTINEL_PASSWORD", .text(.any), nil, tasks, isSecret: true,
    "the Sentinels' own password")
  static let redisCluster = Setting(
    "redis-cluster", "REDIS_CLUSTER", .flag, "off", tasks,
    "whether the keys are spread over the nodes of a Redis Cluster, of which any one is named")
  static let redisTLS = Setting(
    "redis-tls", "REDIS_TLS", .flag, "off", tasks, "whether Redis is spoken to by TLS; rediss:// says so too")
  static let redisAuthorities = Setting(
    "redis-tls-ca", "REDIS_TLS_CA", .text(.any), nil, tasks,
    "a PEM file of the authorities whose certificates Redis may have; unless set, those this machine trusts")
  static let redisCertificate = Setting(
    "redis-tls-cert", "REDIS_TLS_CERT", .text(.any), nil, tasks, "a PEM file with our certificate for Redis")
  static let redisCertificateKey = Setting(
    "redis-tls-key", "REDIS_TLS_KEY", .text(.any), nil, tasks, "a PEM file with its key")

  // Tasks and caches.
  static let gatewayId = Setting(
    "gateway-id", "GATEWAY_ID", .text(.name), nil, [.api],
    "this API process's name in answers and logs; the machine's unless set")
  static let workerName = Setting(
    "worker-name", "WORKER_NAME", .text(.name), nil, [.worker],
    "this worker's name in tables and logs; the machine's unless set")
  static let secretKey = Setting(
    "secret-key", "SECRET_KEY", .text(.any), nil, tasks, isSecret: true,
    "64 hexadecimal digits that secret inputs are sealed with, the same for all processes")
  static let resultRetention = Setting(
    "result-retention", "RESULT_RETENTION", .integer(1...315_360_000), "604800", [.up, .api, .worker],
    "how long tasks that are over are kept in PostgreSQL, in seconds")
  static let cacheTTL = Setting(
    "cache-ttl", "CACHE_TTL", .integer(1...31_536_000), "3600", [.up, .api, .worker],
    "how long results stay in the caches, in seconds")
  static let cacheEntries = Setting(
    "cache-entries", "MILLRACE_CACHE_ENTRIES", .integer(1...100_000_000), "50000", [.up, .api],
    "results that one API process keeps in memory")
  static let cacheMiB = Setting(
    "cache-mib", "MILLRACE_CACHE_MIB", .integer(1...1_048_576), nil, [.up, .api],
    "memory for those results in MiB; a quarter of the process's memory unless set, and no more than that")
  static let waitersMax = Setting(
    "waiters", "MILLRACE_WAITERS", .integer(0...TaskRoles.waitersMost), nil, [.up, .api],
    "clients that may wait in one API process; unless set, two fifths of the descriptors, shared by all of them")
  static let heavySlots = Setting(
    "heavy-slots", "MILLRACE_HEAVY_SLOTS", .integer(1...256), "1", [.up, .worker],
    "argon2 tasks that one worker computes at a time")
  static let argon2TimeCost = Setting(
    "argon2-time-cost", "ARGON2_TIME_COST", .integer(1...Int(Hashing.Limits.argon2PassesMax)), "6", [.up, .worker],
    "argon2's passes over its memory")
  static let argon2MemoryKiB = Setting(
    "argon2-memory-kib", "ARGON2_MEMORY_KIB", .integer(8...Int(Hashing.Limits.argon2MemoryKiBMax)), "65536",
    [.up, .api, .worker], "argon2's memory in KiB, at least 8 for each thread; hashes that took more are not verified")
  static let argon2Parallelism = Setting(
    "argon2-parallelism", "ARGON2_PARALLELISM", .integer(1...Int(Hashing.Limits.argon2ParallelismMax)), "2",
    [.up, .worker], "argon2's threads for one hash")
  static let argon2MemoryBudgetMiB = Setting(
    "argon2-memory-budget-mib", "ARGON2_MEMORY_BUDGET_MIB", .integer(1...1_048_576), "512", [.up, .worker],
    "memory in MiB that one worker's argon2 tasks may take together; further ones wait")

  // The launcher.
  static let apiCount = Setting(
    "api", "MILLRACE_API", .integer(1...64), "3", [.up], "how many API processes are started")
  static let workerCount = Setting(
    "workers", "MILLRACE_WORKERS", .integer(1...64), "3", [.up], "how many workers are started")
  static let serviceCount = Setting(
    "services", "MILLRACE_SERVICES", .integer(0...64), "2", [.up], "how many compute services are started")
  static let keyServerCount = Setting(
    "kv", "MILLRACE_KV", .integer(0...BalancerLimits.keyServersMax), "2", [.up],
    "how many servers of keys and their versions are started")
  static let dataFolder = Setting(
    "data", "MILLRACE_DATA", .text(.any), ".millrace",
    [.up, .status, .token, .cache, .tasks, .queue, .workers, .doctor],
    "the folder for everything that is kept")
  static let verbose = Setting(
    "verbose", "MILLRACE_VERBOSE", .flag, "off", [.up],
    "show also what PostgreSQL, initdb and Redis say when all is well")
  static let redisConfiguration = Setting(
    "redis-conf", "MILLRACE_REDIS_CONF", .text(.any), nil, [.up],
    "the redis.conf to use; unless set, the one beside the program or in a folder above it")

  // Everybody who serves.
  static let memoryMiB = Setting(
    "memory-mib", "MILLRACE_MEMORY_MIB", .integer(64...1_048_576), "256",
    [.up, .balance, .api, .worker, .service, .kv],
    "memory in MiB that one process may take, beside argon2's; the slowest clients are parted with to keep to it")

  // Keys and their versions.
  static let kvName = Setting(
    "name", "KV_NAME", .text(.name), nil, [.kv],
    "this server's name in answers, on the ring and beside the partitions that it has; the machine's unless set")
  static let kvServers = Setting(
    "kv-server", "KV_SERVERS", .list, nil, [.balance, .kv],
    "a server of the store of keys, NAME=HOST:PORT or NAME=unix:/path; may be given several times. A server is told "
      + "of the others, a balancer of all that it sends requests for keys to")
  static let kvData = Setting(
    "kv-data", "KV_DATA", .text(.any), ".millrace/kv", [.kv, .kvClean],
    "the folder of the store, the same for all its servers")
  static let kvEngine = Setting(
    "kv-engine", "KV_ENGINE", .choice(["sqlite", "postgres"]), "sqlite", [.up, .kv, .kvClean],
    "where a store is: files in KV_DATA, or the PostgreSQL of DB_HOST, for servers on several machines")
  static let kvPartitions = Setting(
    "partitions", "KV_PARTITIONS", .integer(VersionedStore.Limits.partitions), nil, [.up, .balance, .kv],
    "how many partitions a store is made with, 8 unless set; one that is there keeps what it has, and a balancer has "
      + "to be told the same")
  static let kvMaxVersions = Setting(
    "max-versions", "KV_MAX_VERSIONS", .integer(1...1_000_000), "100", [.up, .kv, .kvClean],
    "versions of a key that are kept")
  static let kvCacheEntries = Setting(
    "kv-cache-entries", "KV_CACHE_ENTRIES", .integer(1...100_000_000), "10000", [.up, .kv],
    "values that one server keeps in memory")
  static let kvURL = Setting(
    "kv-url", "KV_URL", .text(.any), "http://127.0.0.1:8000", [.kv],
    "the server that is asked, or the balancer before several, http://ADDRESS:PORT or unix:/path")
  static let kvVersion = Setting(
    "version", "MILLRACE_KV_VERSION", .integer(1...(.max)), nil, [.kv], "the version that is asked for, with get")
  static let kvConfirm = Setting(
    "confirm", "MILLRACE_KV_CONFIRM", .flag, "off", [.kvClean], "remove it without asking on the terminal")
  static let kvOnline = Setting(
    "online", "MILLRACE_KV_ONLINE", .flag, "off", [.kvClean],
    "remove it also from partitions that a server has, which then waits now and then")

  // Measurements.
  static let benchTasks = Setting(
    "tasks", "MILLRACE_BENCH_TASKS", .integer(1...LoadTest.Limits.tasksMax), "100000", [.bench],
    "tasks of one measurement")
  static let benchConnections = Setting(
    "connections", "MILLRACE_BENCH_CONNECTIONS", .integer(1...LoadTest.Limits.connectionsMax), "4", [.bench],
    "connections to PostgreSQL that claim and complete at once")

  // Tools for the queue.
  static let json = Setting(
    "json", "MILLRACE_JSON", .flag, "off", [.tasks, .queue, .workers],
    "print JSON, an object a line; the default is on where the output is no terminal")
  static let taskStatus = Setting(
    "status", "MILLRACE_TASKS_STATUS", .choice(TaskState.allCases.map(\.name)), nil, [.tasks],
    "only tasks in this state")
  static let taskType = Setting(
    "type", "MILLRACE_TASKS_TYPE", .choice(TaskKind.all.map(\.name)), nil, [.tasks], "only tasks of this kind, with ls")
  static let taskLimit = Setting(
    "limit", "MILLRACE_TASKS_LIMIT", .integer(1...100_000), "50", [.tasks], "how many are listed, the newest first")
  static let olderThan = Setting(
    "older-than", "MILLRACE_TASKS_OLDER_THAN", .integer(0...315_360_000), "86400", [.tasks],
    "how long tasks have been over that are purged, in seconds")
  static let url = Setting(
    "url", "MILLRACE_URL", .text(.any), "http://127.0.0.1:8000", [.cache],
    "whom to ask, http://ADDRESS:PORT or unix:/path/to.sock")
  static let token = Setting(
    "token", "MILLRACE_TOKEN", .text(.token), nil, [.cache], isSecret: true,
    "a token that lets one do that; unless set, one is made where 'millrace up' runs")
  static let dryRun = Setting(
    "dry-run", "MILLRACE_TASKS_DRY_RUN", .flag, "off", [.tasks, .kvClean],
    "only count what would be retried, purged or removed")

  /// Variables with our prefix that tests and measurements use: where the program is.
  static let foreignVariables = ["MILLRACE_EXECUTABLE", "MILLRACE_SEED"]

  /// Every setting there is, in the order they are shown.
  static let all: [Setting] = [
    port, host, listen, reactors, apiCount, workerCount, serviceCount, keyServerCount, dataFolder, redisConfiguration,
    logs, logLevel,
    verbose,
    backends, strategy, rateLimit, rateWindow, exposeBackend, backendInFlight, via, healthPath, services,
    serviceTimeout,
    serviceId, processDelay, dataDelay, adminToken,
    adminTrustLoopback, tokenKeysFile, tokenIssuer, tokenAudience, allowUnexpiring, tokenTTL, tokenEndpoint,
    tokenSubject, tokenScope, tokenAlgorithm, tokenDropFormer, gatewayId, workerName, secretKey, resultRetention,
    cacheTTL, cacheEntries, cacheMiB, waitersMax,
    heavySlots, argon2TimeCost, argon2MemoryKiB, argon2Parallelism, argon2MemoryBudgetMiB, memoryMiB,
    databaseHost, databasePort, databaseName, databaseUser, databasePassword, databaseTLS, databaseAuthorities,
    databaseCertificate, databaseCertificateKey, databaseRetries, databaseBackoff,
    databaseLimit, applicationName, redisURL, redisHost, redisPort, redisUser, redisPassword,
    redisSentinels, redisMaster, redisSentinelPassword, redisCluster, redisTLS, redisAuthorities, redisCertificate,
    redisCertificateKey, benchTasks, benchConnections, json,
    taskStatus, taskType, taskLimit, olderThan, dryRun, url, token, kvName, kvServers, kvData, kvEngine,
    kvPartitions,
    kvMaxVersions,
    kvCacheEntries, kvURL, kvVersion, kvConfirm, kvOnline,
  ]

  /// The settings that `command` uses.
  static func used(by command: Command) -> [Setting] {
    all.filter { $0.commands.contains(command) }
  }
}
