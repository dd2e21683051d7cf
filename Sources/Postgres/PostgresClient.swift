public import Basics
public import Reactor
public import Telemetry

/// Keeps `width` pipelined connections of one reactor alive, reconnecting with backoff and jitter, and gives each
/// request to the one with the fewest in flight. While there is none, callers wait a bounded time and then get
/// `unavailable`.
public final class PostgresClient {
  private let configuration: PostgresConfiguration
  private let helpers: PostgresConnection.Helpers
  private let log: Logger
  private var connections: [PostgresConnection] = []
  private var waiters: [Pause] = []
  private var isClosed = false
  private var lastFailure = PostgresError(.unavailable, "not connected yet")
  private let reconnects: Counter
  private weak var owner: (any PostgresSessionOwner)?

  /// A client that connects as soon as `start` is called. `owner`, if there is one, prepares each session.
  public init(
    _ configuration: PostgresConfiguration, helpers: PostgresConnection.Helpers,
    owner: (any PostgresSessionOwner)? = nil, log: Logger, metrics: Metrics
  ) {
    self.configuration = configuration
    self.helpers = helpers
    self.owner = owner
    self.log = log
    reconnects = metrics.counter(
      "millrace_postgres_connects_total", "Connections to PostgreSQL that were established.")
    let limiter = configuration.limiter
    metrics.observed("millrace_postgres_connections", "Connections to PostgreSQL that are held.") {
      Double(limiter.count)
    }
    metrics.observed("millrace_postgres_connections_max", "Connections to PostgreSQL that may be held.") {
      Double(limiter.max)
    }
  }

  /// Whether at least one connection is open.
  private var isConnected: Bool { connections.contains { $0.isOpen } }

  /// Why no connection is open, nil if one is.
  public var refusal: PostgresError? { isConnected ? nil : lastFailure }

  /// Begins to keep `width` connections.
  public func start(width: Int = 1, on reactor: isolated Reactor) {
    for _ in 0..<width {
      Task.immediate(executorPreference: reactor.queue) { await self.keepOne(on: reactor) }
    }
  }

  /// Runs one statement on the least busy connection.
  /// - Throws: `PostgresError`.
  public func execute(
    _ statement: PostgresStatement, _ parameters: PostgresParameters = PostgresParameters(),
    until deadline: MonotonicTime? = nil, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresResult {
    let connection = try await self.connection(until: deadline, on: reactor)
    return try await connection.execute(statement, parameters, until: deadline, on: reactor)
  }

  /// The open connection with the fewest requests in flight, waiting a bounded time for one, until `deadline` at most.
  /// - Throws: `PostgresError` with the code `unavailable`.
  public func connection(
    until deadline: MonotonicTime? = nil, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresConnection {
    if let best = leastBusy { return best }
    if !isClosed {
      let waiter = Pause()
      waiters.append(waiter)
      let patience = reactor.now + .seconds(Limits.waitForConnectionSeconds)
      await waiter.wait(until: min(deadline ?? patience, patience), on: reactor)
      waiters.removeAll { $0 === waiter }
      if let best = leastBusy { return best }
    }
    throw lastFailure
  }

  /// Closes all connections for good.
  public func close(on reactor: isolated Reactor) {
    isClosed = true
    for connection in connections { connection.close(on: reactor) }
    connections.removeAll()
    for waiter in waiters { waiter.end() }
  }

  private var leastBusy: PostgresConnection? {
    connections.lazy.filter { $0.isOpen }.min { $0.requestsInFlight < $1.requestsInFlight }
  }

  /// Looks whether the tables behind `connection` fit, has it prepared, and closes it if that does not work.
  private func use(_ connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError) {
    do {
      if let steps = configuration.schemaSteps {
        try await SchemaFit.check(connection, configuration.schemaLedger, known: steps, on: reactor)
      }
      connection.notificationReceiver = owner
      try await owner?.began(connection, on: reactor)
    } catch {
      connection.close(on: reactor)
      throw error
    }
  }

  /// Closes a connection that holds much memory as soon as it has had nothing to do for a while; another one takes its
  /// place.
  private func replaceWhenIdle(_ connection: PostgresConnection, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      // Whoever sends one request after the other over it has none in flight for a moment.
      repeat {
        await reactor.sleep(for: Limits.swollenPause)
      } while connection.isOpen
        && (connection.requestsInFlight > 0 || reactor.now.since(connection.usedAt) < Limits.swollenPause)
      connection.replace(on: reactor)
    }
  }

  private func keepOne(on reactor: isolated Reactor) async {
    var backoff = configuration.backoff
    var random = SeededRandom.fromSystem()
    var triedAtOnce: MonotonicTime?
    while !isClosed {
      do {
        let connection = try await PostgresConnection.connect(
          configuration.turned(forAttempt: backoff.attempts), helpers: helpers, on: reactor)
        try await use(connection, on: reactor)
        if isClosed {
          connection.close(on: reactor)
          owner?.ended(on: reactor)
          return
        }
        reconnects.increment()
        log.debug("connected", [("backend", "\(connection.backendProcessId)")])
        lastFailure = PostgresError(.unavailable, "the connection was lost")
        connections.append(connection)
        connection.swelled = { [weak connection] in
          if let connection { self.replaceWhenIdle(connection, on: reactor) }
        }
        for waiter in waiters { waiter.end() }
        await connection.whenLost(on: reactor)
        connections.removeAll { $0 === connection }
        owner?.ended(on: reactor)
        if connection.isReplaced { continue }
        if !isClosed { log.warning("connection lost, reconnecting") }
        // A session may have been ended alone, and then nothing is wrong with the server. But one that takes
        // connections and drops them at once must not be asked without a pause.
        if let triedAtOnce, reactor.now.since(triedAtOnce) <= .seconds(Limits.backoffCapSeconds) {
          if !isClosed { await reactor.sleep(for: backoff.next(using: &random)) }
        } else {
          backoff.reset()
          triedAtOnce = reactor.now
        }
      } catch {
        // Whatever the reason: callers are told that there is no connection, or no tables yet.
        let isNew = lastFailure.message != error.message
        lastFailure = error.isOfSchema ? error : PostgresError(.unavailable, error.message)
        if error.isOfSchema {
          if isNew { log.warning("waiting for the tables of this program", [("reason", error.message)]) }
          await reactor.sleep(for: .milliseconds(Limits.schemaLookMs))
          continue
        }
        if backoff.attempts == configuration.connectionRetries {
          log.error("PostgreSQL cannot be reached, trying on", [("reason", error.message)])
        } else {
          log.debug("connect failed", [("reason", error.message)])
        }
        await reactor.sleep(for: backoff.next(using: &random))
      }
    }
  }
}

/// Whoever has something to do in each session of a client with one connection: to listen, say.
public protocol PostgresSessionOwner: PostgresNotificationReceiver {
  /// A session has begun; requests are sent over it when this returns.
  /// - Throws: `PostgresError`; the session is then ended, and `ended` is not called.
  func began(_ connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError)
  /// The session that has begun is over.
  func ended(on reactor: isolated Reactor)
}
