import Basics
import Hashing
import Postgres
import Reactor
import Redis
import TLS
import Telemetry

extension Configuration {
  /// How to reach PostgreSQL.
  var postgres: PostgresConfiguration {
    var postgres = PostgresConfiguration()
    postgres.hosts = list(.databaseHost)
    postgres.port = UInt16(integer(.databasePort))
    postgres.user = text(.databaseUser) ?? ""
    postgres.password = text(.databasePassword)
    postgres.database = text(.databaseName) ?? ""
    postgres.tls = (
      choice(.databaseTLS).replacing("_", with: "-"), text(.databaseAuthorities), text(.databaseCertificate),
      text(.databaseCertificateKey)
    )
    postgres.applicationName = text(.applicationName) ?? ""
    postgres.connectionRetries = integer(.databaseRetries)
    postgres.baseBackoffSeconds = decimal(.databaseBackoff)
    // Tools size theirs themselves.
    if Setting.databaseLimit.commands.contains(command) {
      postgres.limiter = ConnectionLimiter(max: integer(.databaseLimit))
    }
    return postgres
  }

  /// How to reach Redis; nil works without.
  /// - Throws: `CommandError`.
  func redis(clientName: String) throws(CommandError) -> RedisConfiguration? {
    let url = text(.redisURL)
    if let url, Setting.truth(of: url) == false { return nil }
    var redis: RedisConfiguration
    var isSecure = isOn(.redisTLS)
    if let url {
      redis = try Configuration.redis(url)
      if url.hasPrefix("rediss://") { isSecure = true }
    } else {
      redis = RedisConfiguration(endpoint: "\(text(.redisHost) ?? ""):\(integer(.redisPort))")
      (redis.user, redis.password) = (text(.redisUser), text(.redisPassword))
    }
    redis.clientName = clientName
    redis.isCluster = isOn(.redisCluster)
    redis.sentinels = list(.redisSentinels)
    if !redis.sentinels.isEmpty {
      if redis.isCluster { throw .configuration("REDIS_CLUSTER and REDIS_SENTINELS exclude each other") }
      redis.master = text(.redisMaster)
      redis.sentinelPassword = text(.redisSentinelPassword)
    }
    if redis.isCluster, redis.database != 0 { throw .configuration("a Redis Cluster has no database but 0") }
    if redis.user != nil, redis.password == nil { throw .configuration("REDIS_USER needs a password") }
    if isSecure { try secure(&redis) }
    return redis
  }

  private func secure(_ redis: inout RedisConfiguration) throws(CommandError) {
    if redis.endpoint.hasPrefix("unix:") { throw .configuration("TLS is not spoken over a Unix socket") }
    let (certificate, key) = (text(.redisCertificate), text(.redisCertificateKey))
    guard (certificate == nil) == (key == nil) else {
      throw .configuration("REDIS_TLS_CERT and REDIS_TLS_KEY go together")
    }
    do {
      redis.tls = try TLSContext(authorities: text(.redisAuthorities), certificate: certificate, key: key)
    } catch {
      throw .configuration("\(error)")
    }
    // Sentinels and clusters tell addresses, and certificates are rarely for those.
    guard redis.master == nil, !redis.isCluster, let colon = redis.endpoint.lastIndex(of: ":") else { return }
    redis.tlsName = redis.endpoint[..<colon].filter { !"[]".contains($0) }
  }

  static func redis(_ url: String) throws(CommandError) -> RedisConfiguration {
    if url.hasPrefix("unix:") { return RedisConfiguration(endpoint: url) }
    guard let scheme = ["redis://", "rediss://"].first(where: url.hasPrefix) else {
      throw .configuration("REDIS_URL is neither redis://HOST:PORT, nor rediss://HOST:PORT, nor unix:/path")
    }
    var rest = url.dropFirst(scheme.count)
    var credentials: [Substring] = []
    if let at = rest.lastIndex(of: "@") {
      credentials = rest[..<at].split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      rest = rest[rest.index(after: at)...]
    }
    let parts = rest.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let authority = String(parts.first ?? "")
    let hasPort = authority.lastIndex(of: ":").map { UInt16(authority[authority.index(after: $0)...]) != nil } ?? false
    var redis = RedisConfiguration(endpoint: hasPort ? authority : authority + ":6379")
    if parts.count == 2, !parts[1].isEmpty {
      guard let database = Int(parts[1]) else { throw .configuration("REDIS_URL: '\(parts[1])' is no database number") }
      redis.database = database
    }
    // A password may hold any character; those with a meaning in URLs are written as %XX (RFC 3986 §2.1).
    if let password = credentials.last { redis.password = try decoded(password) }
    if credentials.count == 2, !credentials[0].isEmpty { redis.user = try decoded(credentials[0]) }
    return redis
  }

  private static func decoded(_ text: Substring) throws(CommandError) -> String {
    var bytes: [UInt8] = []
    var rest = text.utf8[...]
    while let byte = rest.popFirst() {
      guard byte == UInt8(ascii: "%") else {
        bytes.append(byte)
        continue
      }
      let digits = Array(rest.prefix(2))
      guard digits.count == 2, let decoded = Hex.decode(digits) else {
        throw .configuration("REDIS_URL: a % in the user or password is written as %25")
      }
      bytes += decoded
      rest = rest.dropFirst(2)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Where to listen.
  /// - Throws: `CommandError`.
  func addresses() throws(CommandError) -> [SocketAddress] {
    var addresses: [SocketAddress] = []
    for text in list(.listen) {
      if let address = SocketAddress(text) {
        addresses.append(address)
        continue
      }
      guard !text.hasPrefix("unix:"), let colon = text.lastIndex(of: ":"),
        let port = UInt16(text[text.index(after: colon)...])
      else { throw .configuration("'\(text)' is not HOST:PORT or unix:/path (of at most 107 bytes)") }
      addresses.append(try HostName.listening(String(text[..<colon]), port: port))
    }
    return addresses
  }

  /// The key that secret inputs are sealed with.
  /// - Throws: `CommandError`.
  func secret() throws(CommandError) -> SecretKey {
    guard let text = text(.secretKey) else {
      throw .configuration(
        "no secret key: make one with 'openssl rand -hex 32 > secret.key' and set SECRET_KEY_FILE=secret.key, "
          + "the same for every process")
    }
    do {
      return try SecretKey(hex: Array(text.utf8))
    } catch {
      throw .configuration("the secret key is not 64 hexadecimal digits")
    }
  }

  /// The log of this process, on standard error.
  func logger(_ subsystem: String) -> Logger {
    let format: Logger.Format =
      switch choice(.logs) {
      case "text": .text
      case "json": .json
      default: Logger.formatForStandardError()
      }
    let level: Logger.Level =
      switch choice(.logLevel) {
      case "debug": .debug
      case "warn": .warning
      case "error": .error
      default: .info
      }
    return Logger(sink: LogSink(fd: 2), subsystem: subsystem, level: level, format: format)
  }
}
