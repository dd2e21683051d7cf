public import Basics
public import Postgres
public import Reactor
public import Telemetry

/// Whoever acts on changes of values.
public protocol DataFeedReceiver: AnyObject {
  /// Every change that is committed from now on is heard; what was before is not known.
  func feedBegan(on reactor: isolated Reactor)
  /// Changes are not heard any more.
  func feedEnded(on reactor: isolated Reactor)
  /// Something was changed.
  func heard(_ change: DataChange, on reactor: isolated Reactor)
  /// Every change that was committed before `time` has been heard; PostgreSQL's clock was at `clock` microseconds since
  /// 1970 after that.
  func proved(at time: MonotonicTime, clock: Int64, on reactor: isolated Reactor)
}

/// Hears of all changes of values, over a connection of its own, so that no slow statement holds it up.
///
/// PostgreSQL sends its notifications to a session before it answers the session's next request. So a request that is
/// answered proves that everything which was committed before it was sent has been heard: no silence has to be
/// interpreted, and nothing has to be sent while nobody asks.
public final class DataFeed: PostgresSessionOwner {
  private let configuration: PostgresConfiguration
  private let log: Logger
  private let metrics: Metrics
  private let helpers: PostgresConnection.Helpers
  private weak var receiver: (any DataFeedReceiver)?
  private var client: PostgresClient?
  /// Whether a proof is on its way.
  public private(set) var isProving = false
  /// Whether the last one that was asked for has not come.
  public private(set) var isSilent = false
  private var waiters: [Pause] = []

  /// A feed that connects as soon as `start` is called.
  public init(_ configuration: PostgresConfiguration, pool: ComputePool, log: Logger, metrics: Metrics) {
    self.configuration = DataSchema.fitting(configuration)
    self.log = log
    self.metrics = metrics
    helpers = PostgresConnection.Helpers(pool: pool)
  }

  /// Begins to connect, and to tell `receiver`, which is not kept alive.
  public func start(_ receiver: any DataFeedReceiver, on reactor: isolated Reactor) {
    self.receiver = receiver
    client = PostgresClient(
      configuration, helpers: helpers, owner: self, log: log.named("postgres"), metrics: metrics)
    client?.start(on: reactor)
  }

  /// Ends the connection for good.
  public func close(on reactor: isolated Reactor) {
    client?.close(on: reactor)
  }

  /// Has it proven that everything was heard which was committed before now, or a moment ago by a request that is on
  /// its way; returns when the receiver was told, or when it is clear that there is no proof, or at `deadline`.
  public func prove(until deadline: MonotonicTime, on reactor: isolated Reactor) async {
    if isProving {
      let waiter = Pause()
      waiters.append(waiter)
      await waiter.wait(until: deadline, on: reactor)
      waiters.removeAll { $0 === waiter }
      return
    }
    guard let client, client.refusal == nil else { return }
    isProving = true
    defer {
      isProving = false
      for waiter in waiters { waiter.end() }
    }
    do {
      let connection = try await client.connection(until: deadline, on: reactor)
      try await prove(over: connection, until: deadline, on: reactor)
    } catch {
      isSilent = true
      log.debug("it is not known whether all changes were heard", [("reason", "\(error)")])
    }
  }

  private func prove(
    over connection: PostgresConnection, until deadline: MonotonicTime? = nil, on reactor: isolated Reactor
  ) async throws(PostgresError) {
    let sentAt = MonotonicTime.current()
    let rows = try await connection.execute(DataFeed.looking, until: deadline, on: reactor)
    isSilent = false
    receiver?.proved(at: sentAt, clock: rows.int64(0, 0), on: reactor)
  }

  // MARK: The session

  /// Listens, and then looks for the first time.
  public func began(_ connection: PostgresConnection, on reactor: isolated Reactor) async throws(PostgresError) {
    _ = try await connection.execute(DataFeed.listening, on: reactor)
    receiver?.feedBegan(on: reactor)
    do {
      try await prove(over: connection, on: reactor)
    } catch {
      receiver?.feedEnded(on: reactor)
      throw error
    }
  }

  /// Tells that nothing is heard any more.
  public func ended(on reactor: isolated Reactor) {
    receiver?.feedEnded(on: reactor)
  }

  /// Hands a change on.
  public func notified(channel: String, payload: String, on reactor: isolated Reactor) {
    if let change = DataChange(payload) { receiver?.heard(change, on: reactor) }
  }

  private static let listening = PostgresStatement("data_listen", "listen \(DataChange.channel)")
  private static let looking = PostgresStatement(
    "data_look", "select \(DataStore.clock)")
}
