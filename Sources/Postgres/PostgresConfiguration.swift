import Basics
import Synchronization

/// How to reach a database, and how gently.
public struct PostgresConfiguration: Sendable {
  /// Host names, addresses, or the absolute folder of a Unix socket, tried in order.
  public var hosts: [String] = ["127.0.0.1"]
  /// The port, the same for all hosts.
  public var port: UInt16 = 5432
  /// The role to log in as.
  public var user = "postgres"
  /// The password, nil for none; never printed.
  public var password: String?
  /// The database's name.
  public var database = "millrace"
  /// Whether and how connections by TCP are encrypted: libpq's parameters `sslmode`, `sslrootcert`, `sslcert` and
  /// `sslkey` (PostgreSQL 15, §34.19); nil leaves one to libpq.
  public var tls: (mode: String?, authorities: String?, certificate: String?, key: String?) = (nil, nil, nil, nil)
  /// How the connection is called in `pg_stat_activity`.
  public var applicationName = "millrace"
  /// Session settings, name and value: `("plan_cache_mode", "force_generic_plan")`.
  public var settings: [(name: String, value: String)] = []
  /// How often connecting is tried again before `PostgresConnection.connectPatiently` gives up, and before a
  /// `PostgresClient`, which never does, says in the log that the database cannot be reached.
  public var connectionRetries = 5
  /// The first pause between attempts, in seconds; it doubles, with jitter.
  public var baseBackoffSeconds = 0.5
  /// How many steps of the schema the program knows: a `PostgresClient` then uses no connection before the tables fit;
  /// nil for one that works on whatever there is.
  public var schemaSteps: Int?
  /// Where it is written down which of them were run.
  public var schemaLedger = MigrationLedger.main
  /// Counts the connections of the whole process.
  public var limiter = ConnectionLimiter(max: 20)

  /// A database on this machine's TCP port 5432.
  public init() {}

  /// How many attempts went before this one.
  private var attempt = 0

  /// The same for attempt `number`.
  public func turned(forAttempt number: Int) -> PostgresConfiguration {
    var turned = self
    turned.attempt = number
    return turned
  }

  /// What is tried in this attempt, of all hosts all addresses, with another one first than in the attempt before: one
  /// that is silent keeps libpq from trying the next.
  func turned(_ places: [String]) -> [String] {
    let first = attempt % max(places.count, 1)
    return Array(places[first...] + places[..<first])
  }

  /// The pauses between attempts.
  var backoff: Backoff { Backoff(base: .seconds(baseBackoffSeconds), cap: .seconds(Limits.backoffCapSeconds)) }
}

/// At most so many connections of this process to PostgreSQL (`DB_USER_CONNECTION_LIMIT`), shared by all its reactors.
public final class ConnectionLimiter: Sendable {
  /// The most connections at a time.
  public let max: Int
  private let used = Atomic<Int>(0)

  /// A limiter that allows `max` connections, at least one.
  public init(max: Int) {
    self.max = Swift.max(1, max)
  }

  /// Connections held now.
  public var count: Int { used.load(ordering: .relaxed) }

  /// Takes a place if there is one.
  func acquire() -> Bool {
    if used.add(1, ordering: .acquiringAndReleasing).newValue <= max { return true }
    used.subtract(1, ordering: .acquiringAndReleasing)
    return false
  }

  /// Gives a place back.
  public func release() {
    used.subtract(1, ordering: .acquiringAndReleasing)
  }
}
