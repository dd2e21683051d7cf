import Basics
import CPostgres
import CTLS
import Glibc
public import Reactor
public import Telemetry

extension PostgresConnection {
  /// What connecting needs besides the configuration: threads for what blocks.
  public struct Helpers: Sendable {
    /// Looks up host names.
    let pool: ComputePool
    /// Sends cancels, which a host that has vanished holds up for minutes: names are looked up meanwhile.
    let cancels: ComputePool

    /// Helpers that block threads of `pool`, and one of their own if the system has one left.
    public init(pool: ComputePool) {
      self.pool = pool
      cancels = (try? ComputePool(width: 1, name: "cancel")) ?? pool
    }

    /// Helpers that send cancels on a thread of `cancels`.
    init(pool: ComputePool, cancels: ComputePool) {
      self.pool = pool
      self.cancels = cancels
    }
  }

  /// Connects, and tries again as often and with such pauses as the configuration says: for tools, which end when they
  /// get no connection.
  /// - Throws: `PostgresError`: the last attempt's.
  public static func connectPatiently(
    _ configuration: PostgresConfiguration, helpers: Helpers, log: Logger, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresConnection {
    var backoff = configuration.backoff
    var random = SeededRandom.fromSystem()
    while true {
      do {
        return try await connect(configuration.turned(forAttempt: backoff.attempts), helpers: helpers, on: reactor)
      } catch {
        guard backoff.attempts < configuration.connectionRetries else { throw error }
        let pause = backoff.next(using: &random)
        log.warning(
          "PostgreSQL cannot be reached yet",
          [
            ("attempt", "\(backoff.attempts)"), ("retries", "\(configuration.connectionRetries)"),
            ("pause_ms", "\(pause.milliseconds)"), ("reason", error.message),
          ])
        await reactor.sleep(for: pause)
      }
    }
  }

  /// Makes one attempt to connect and enters pipeline mode.
  /// - Throws: `PostgresError`: `unavailable` with the reason if no host answers, the limit of connections is reached,
  ///   or the login is refused.
  public static func connect(
    _ configuration: PostgresConfiguration, helpers: Helpers, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresConnection {
    guard configuration.limiter.acquire() else {
      throw PostgresError(.unavailable, "this process holds its limit of \(configuration.limiter.max) connections")
    }
    let handle: OpaquePointer
    do {
      let parameters = try await connectionParameters(configuration, helpers: helpers, on: reactor)
      handle = try start(parameters)
    } catch {
      configuration.limiter.release()
      throw error
    }
    // From here on the connection object owns the handle and the limiter's place.
    let connection = PostgresConnection(handle: handle, limiter: configuration.limiter, canceller: helpers.cancels)
    let deadline = reactor.now + .seconds(Limits.connectSeconds)
    if let reason = await Handshake(handle).run(until: deadline, on: reactor) {
      connection.close(on: reactor)
      throw PostgresError(.unavailable, reason)
    }
    if let complaint = complaint(ofServer: PQserverVersion(handle)) {
      connection.close(on: reactor)
      throw PostgresError(.unavailable, complaint)
    }
    // Details and excerpts of statements may hold what users have sent: errors are one sentence without them.
    PQsetErrorVerbosity(handle, PQERRORS_TERSE)
    // libpq would print what the server remarks beside its answers, past the log and its format.
    PQsetNoticeProcessor(handle, { _, _ in }, nil)
    guard PQsetnonblocking(handle, 1) == 0, PQenterPipelineMode(handle) == 1 else {
      let reason = String(cString: PQerrorMessage(handle))
      connection.close(on: reactor)
      throw PostgresError(.unavailable, reason)
    }
    do {
      try connection.watch(on: reactor)
    } catch {
      connection.close(on: reactor)
      throw PostgresError(.unavailable, "\(error)")
    }
    return connection
  }

  /// What is wrong with a server of `version`, 150014 say, nil if it will do.
  static func complaint(ofServer version: CInt) -> String? {
    guard version < Limits.serverVersionMin else { return nil }
    let needed = Limits.serverVersionMin / 10_000
    return "this is PostgreSQL \(version / 10_000), and \(needed) or later is needed"
  }

  /// Whether something has come that libpq has not read and no event will tell of: a record of TLS is taken from the
  /// socket whole, however much of it libpq had room for.
  var holdsUnreadBytes: Bool {
    guard let handle, let session = PQsslStruct(handle, "OpenSSL") else { return false }
    return SSL_pending(OpaquePointer(session)) > 0
  }

  private static func start(_ parameters: [(String, String)]) throws(PostgresError) -> OpaquePointer {
    var keys = parameters.map { UnsafePointer<CChar>(strdup($0.0)) }
    var values = parameters.map { UnsafePointer<CChar>(strdup($0.1)) }
    keys.append(nil)
    values.append(nil)
    defer {
      for pointer in keys + values { free(UnsafeMutablePointer(mutating: pointer)) }
    }
    guard let handle = PQconnectStartParams(keys, values, 0) else {
      throw PostgresError(.unavailable, "libpq is out of memory")
    }
    if PQstatus(handle) == CONNECTION_BAD {
      let reason = String(cString: PQerrorMessage(handle))
      PQfinish(handle)
      throw PostgresError(.unavailable, reason)
    }
    return handle
  }

  /// The keepalives let the server find out within half a minute that this side is gone: until then it would hold the
  /// session's locks. A transaction of ours is never idle for long; how long other people's may be is theirs to say.
  private static let sessionSettings: [(name: String, value: String)] = [
    ("client_min_messages", "warning"), ("tcp_keepalives_idle", "15"), ("tcp_keepalives_interval", "5"),
    ("tcp_keepalives_count", "3"), ("idle_in_transaction_session_timeout", "60s"),
  ]

  /// Host names are resolved here, on a helper thread: libpq would look them up on the reactor.
  private static func connectionParameters(
    _ configuration: PostgresConfiguration, helpers: Helpers, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [(String, String)] {
    var hosts: [String] = []
    var addresses: [String] = []
    for host in configuration.hosts {
      if host.hasPrefix("/") {
        hosts.append(host)
        addresses.append("")
        continue
      }
      do {
        let found = try await Resolver(pool: helpers.pool)
          .addresses(of: host, port: configuration.port, on: reactor)
        for address in found {
          hosts.append(host)
          addresses.append(address.host)
        }
      } catch  where configuration.hosts.count == 1 {
        throw PostgresError(.unavailable, "\(error)")
      } catch {
        continue  // The other hosts may still be found.
      }
    }
    // One address that is silent uses up the time of an attempt: the next attempt begins with another one.
    hosts = configuration.turned(hosts)
    addresses = configuration.turned(addresses)
    guard !hosts.isEmpty else {
      throw PostgresError(.unavailable, "no host of \(configuration.hosts.joined(separator: ", ")) has an address")
    }
    let settings = (PostgresConnection.sessionSettings + configuration.settings).map { "-c \($0.0)=\($0.1)" }.joined(
      separator: " ")
    var parameters = [
      ("host", hosts.joined(separator: ",")), ("port", String(configuration.port)), ("user", configuration.user),
      ("dbname", configuration.database), ("application_name", configuration.applicationName), ("options", settings),
      ("client_encoding", "UTF8"), ("gssencmode", "disable"), ("keepalives_idle", "15"), ("keepalives_interval", "5"),
      ("keepalives_count", "3"),
    ]
    if addresses.contains(where: { !$0.isEmpty }) { parameters.append(("hostaddr", addresses.joined(separator: ","))) }
    if hosts.count > 1 { parameters.append(("target_session_attrs", "read-write")) }
    let tls = configuration.tls
    let others = [
      ("password", configuration.password), ("sslmode", tls.mode), ("sslrootcert", tls.authorities),
      ("sslcert", tls.certificate), ("sslkey", tls.key),
    ]
    for case (let name, let value?) in others { parameters.append((name, value)) }
    return parameters
  }
}

/// Drives `PQconnectPoll`: waits for the socket that libpq uses now to be ready for what it wants next.
private final class Handshake: EventHandler {
  private let handle: OpaquePointer
  private var waiter: UnsafeContinuation<Bool, Never>?
  private lazy var timer = ReactorTimer(self)

  init(_ handle: OpaquePointer) {
    self.handle = handle
  }

  /// Returns why there is no connection, nil if there is one.
  func run(until deadline: MonotonicTime, on reactor: isolated Reactor) async -> String? {
    reactor.arm(timer, at: deadline)
    defer { reactor.cancel(timer) }
    var wanted: ReadyEvents = .writable
    while true {
      // libpq may change its socket between two polls (another host, or a retry without TLS), so each wait registers
      // what it has now. Level-triggered.
      let fd = PQsocket(handle)
      guard fd >= 0 else { return String(cString: PQerrorMessage(handle)) }
      do {
        try reactor.register(self, fd: fd, events: wanted)
      } catch {
        return "\(error)"
      }
      let isReady = await withUnsafeContinuation { waiter = $0 }
      reactor.deregister(fd: fd)
      if !isReady { return "no answer within \(Limits.connectSeconds) s" }
      switch PQconnectPoll(handle) {
      case PGRES_POLLING_OK: return nil
      case PGRES_POLLING_READING: wanted = .readable
      case PGRES_POLLING_WRITING: wanted = .writable
      default: return String(cString: PQerrorMessage(handle))
      }
    }
  }

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    waiter.take()?.resume(returning: true)
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    waiter.take()?.resume(returning: false)
  }
}
