import Basics
public import Reactor
public import Telemetry

/// Sends commands over one connection of its reactor and matches the answers, which come in order. Commands of one turn
/// of the loop leave in one write.
///
/// The connection is made and made again in the background; while there is none, or while the breaker is open, commands
/// fail at once, so that a Redis that is down or frozen costs its callers at most one timeout each now and then. When
/// answers stop the connection is given up: whatever is behind the late one in the line is late too.
public final class RedisClient: EventHandler {
  private typealias Outcome = Result<RedisValue, RedisError>

  private enum Waiter {
    case one(UnsafeContinuation<Outcome, Never>)
    case part(of: Collector)

    func resume(_ outcome: Outcome) {
      switch self {
      case .one(let continuation): continuation.resume(returning: outcome)
      case .part(let collector): collector.collect(outcome)
      }
    }
  }

  private let configuration: RedisConfiguration
  private let resolver: Resolver
  private let logger: Logger
  private let metrics: RedisMetrics
  /// The connection that is being made or used.
  private var attempt: RedisConnection?
  /// The same once it is logged in.
  private var connection: RedisConnection?
  private let pause = Pause()
  private var pending = RingQueue<Waiter>()
  private var breaker = CircuitBreaker()
  private var backoff = Backoff(
    base: .milliseconds(Limits.reconnectBaseMs), cap: .milliseconds(Limits.reconnectMaxMs))
  private var random = SeededRandom.fromSystem()
  /// When the server last answered, or was last asked after a pause.
  private var lastProgress = MonotonicTime(nanoseconds: 0)
  private var hasTimedOut = false
  private var isLate = false
  private var isClosed = false
  /// Whether the log knows already that there is no connection.
  private var isComplaining = false
  private lazy var timer = ReactorTimer(self)

  /// A client that begins to connect at once.
  public init(
    _ configuration: RedisConfiguration, resolver: Resolver, logger: Logger, metrics: RedisMetrics,
    on reactor: isolated Reactor
  ) {
    self.configuration = configuration
    self.resolver = resolver
    self.logger = logger.named("redis")
    self.metrics = metrics
    super.init()
    Task.immediate(executorPreference: reactor.queue) { await self.run(on: reactor) }
  }

  /// Sends a command, its name and arguments, and waits for the answer.
  /// - Throws: `RedisError`; `.server` if the server refused.
  public func command(_ arguments: [[UInt8]], on reactor: isolated Reactor) async throws(RedisError) -> RedisValue {
    let connection = try admittedConnection(on: reactor)
    connection.send(arguments, on: reactor)
    let outcome = await withUnsafeContinuation { expect(.one($0), on: reactor) }
    return try checked(outcome)
  }

  /// Sends several commands together and waits for all answers, in order; refusals stand among them as `.error`.
  /// - Throws: `RedisError` if not all were answered.
  func pipeline(
    _ commands: [[[UInt8]]], on reactor: isolated Reactor
  ) async throws(RedisError) -> [RedisValue] {
    guard !commands.isEmpty else { return [] }
    let connection = try admittedConnection(on: reactor)
    for command in commands { connection.send(command, on: reactor) }
    let outcome: Outcome = await withUnsafeContinuation { continuation in
      let collector = Collector(continuation, expected: commands.count)
      for _ in commands { expect(.part(of: collector), on: reactor) }
    }
    return try outcome.get().array ?? []
  }

  /// Ends the connection and does not make it again; commands that wait fail.
  public func close(on reactor: isolated Reactor) {
    isClosed = true
    attempt?.close(on: reactor)
    pause.end()
  }

  private func admittedConnection(on reactor: isolated Reactor) throws(RedisError) -> RedisConnection {
    metrics.commands.increment()
    do throws(RedisError) {
      guard let connection else { throw .notConnected }
      guard pending.count < Limits.pendingMax else { throw .overloaded }
      guard breaker.admits(at: reactor.now) else { throw .circuitOpen }
      return connection
    } catch {
      metrics.failures.increment()
      throw error
    }
  }

  private func expect(_ waiter: Waiter, on reactor: isolated Reactor) {
    if pending.isEmpty { lastProgress = reactor.now }
    pending.append(waiter)
    if !timer.isArmed { reactor.arm(timer, after: configuration.commandTimeout) }
  }

  private func checked(_ outcome: Outcome) throws(RedisError) -> RedisValue {
    let value = try outcome.get()
    if case .error(let message) = value { throw .server(message: message) }
    return value
  }

  /// Looks whether the server still answers. A command is late when nothing at all was answered for the time that one
  /// may take: a long line that moves is no fault. If this loop itself was held up, the answer may lie in the socket
  /// already, so there is a moment's grace in which it is read before the server is blamed.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    guard !pending.isEmpty else { return }
    let deadline = lastProgress + configuration.commandTimeout
    if deadline > reactor.now {
      isLate = false
      reactor.arm(timer, at: deadline)
    } else if !isLate {
      isLate = true
      reactor.arm(timer, after: .milliseconds(Limits.graceMs))
    } else {
      isLate = false
      hasTimedOut = true
      metrics.timeouts.increment()
      connection?.close(on: reactor)
    }
  }

  private func run(on reactor: isolated Reactor) async {
    while !isClosed {
      let failure = await runOneConnection(on: reactor)
      connection = nil
      let error = hasTimedOut ? .timeout : failure
      hasTimedOut = false
      while let waiting = pending.popFirst() {
        metrics.failures.increment()
        waiting.resume(.failure(error))
      }
      reactor.cancel(timer)
      if isClosed { return }
      breaker.failed(at: reactor.now)
      if !isComplaining { logger.warning("connection failed", [("reason", "\(error)")]) }
      isComplaining = true
      let rest = backoff.next(using: &random)
      await pause.wait(until: max(reactor.now + rest, breaker.retryTime ?? reactor.now), on: reactor)
    }
  }

  private func runOneConnection(on reactor: isolated Reactor) async -> RedisError {
    do {
      let connection = try await RedisConnection.connect(configuration, resolver, on: reactor)
      attempt = connection
      defer { connection.close(on: reactor) }
      if isClosed { return .connectionLost }
      try await connection.logIn(configuration, on: reactor)
      self.connection = connection
      metrics.connects.increment()
      isComplaining = false
      logger.info("connected", [("endpoint", configuration.endpoint)])
      while true {
        let value = try await connection.reply(on: reactor)
        guard let waiting = pending.popFirst() else { return .malformedReply }
        breaker.succeeded()
        backoff.reset()
        lastProgress = reactor.now
        isLate = false
        waiting.resume(.success(value))
      }
    } catch {
      return error
    }
  }

  /// Gathers the answers of a pipeline.
  private final class Collector {
    private var continuation: UnsafeContinuation<Outcome, Never>?
    private var values: [RedisValue] = []
    private let expected: Int

    init(_ continuation: UnsafeContinuation<Outcome, Never>, expected: Int) {
      self.continuation = continuation
      self.expected = expected
      values.reserveCapacity(expected)
    }

    func collect(_ outcome: Outcome) {
      switch outcome {
      case .failure: continuation.take()?.resume(returning: outcome)
      case .success(let value):
        values.append(value)
        if values.count == expected { continuation.take()?.resume(returning: .success(.array(values))) }
      }
    }
  }
}
