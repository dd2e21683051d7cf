import Basics
import Reactor
import Telemetry

/// Sends commands to one server over one connection of its reactor and matches the answers, which come in order.
/// Commands of one turn of the loop leave in one write.
///
/// The connection is made and made again in the background; while there is none, or while the breaker is open, commands
/// fail at once, so that a Redis that is down or frozen costs its callers at most one timeout each now and then. When
/// answers stop the connection is given up: whatever is behind the late one in the line is late too.
final class RedisLink: EventHandler {
  private enum Waiter {
    case one(UnsafeContinuation<Result<RedisValue, RedisError>, Never>)
    case part(of: RedisBatch)

    func resume(_ outcome: Result<RedisValue, RedisError>) {
      switch self {
      case .one(let continuation): continuation.resume(returning: outcome)
      case .part(let batch): batch.collect(outcome)
      }
    }
  }

  private let configuration: RedisConfiguration
  private let locator: RedisLocator
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

  /// A link that begins to connect at once; `logger` is that of this room.
  init(
    _ configuration: RedisConfiguration, resolver: Resolver, logger: Logger, metrics: RedisMetrics,
    on reactor: isolated Reactor
  ) {
    self.configuration = configuration
    self.logger = logger
    self.metrics = metrics
    locator = RedisLocator(configuration, resolver)
    super.init()
    Task.immediate(executorPreference: reactor.queue) { await self.run(on: reactor) }
  }

  /// Whether the server has let us in.
  var isConnected: Bool { connection != nil }

  /// Sends a command, its name and arguments, and waits for the answer, be it a refusal.
  /// - Throws: `RedisError` if there was none.
  func command(_ arguments: [[UInt8]], on reactor: isolated Reactor) async throws(RedisError) -> RedisValue {
    let connection = try admittedConnection(on: reactor)
    connection.send(arguments, on: reactor)
    return try await withUnsafeContinuation { expect(.one($0), on: reactor) }.get()
  }

  /// Sends several commands together; the answers are awaited of what this returns.
  /// - Throws: `RedisError` if nothing was sent.
  func begin(_ commands: [[[UInt8]]], on reactor: isolated Reactor) throws(RedisError) -> RedisBatch {
    let batch = RedisBatch(expected: commands.count)
    guard !commands.isEmpty else { return batch }
    let connection = try admittedConnection(on: reactor)
    for command in commands { connection.send(command, on: reactor) }
    for _ in commands { expect(.part(of: batch), on: reactor) }
    return batch
  }

  /// Ends the connection and does not make it again; commands that wait fail.
  func close(on reactor: isolated Reactor) {
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

  /// Looks whether the server still answers. A command is late when nothing at all was answered for the time that one
  /// may take: a long line that moves is no fault. If this loop itself was held up, the answer may lie in the socket
  /// already, so there is a moment's grace in which it is read before the server is blamed.
  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
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
      let connection = try await locator.connect(on: reactor)
      attempt = connection
      defer { connection.close(on: reactor) }
      if isClosed { return .connectionLost }
      try await connection.logIn(configuration, on: reactor)
      self.connection = connection
      metrics.connects.increment()
      isComplaining = false
      logger.info("connected", [("endpoint", configuration.endpoint)])
      let connectedAt = reactor.now
      while true {
        let value = try await connection.reply(on: reactor)
        guard let waiting = pending.popFirst() else { return .malformedReply }
        breaker.succeeded()
        // One that ends soon after each beginning is as bad as none.
        if reactor.now.since(connectedAt) > .milliseconds(Limits.reconnectMaxMs) { backoff.reset() }
        lastProgress = reactor.now
        isLate = false
        waiting.resume(.success(value))
        // What was the master is one no more: who is it now is asked before anything else is sent.
        if case .error(let message) = value, message.hasPrefix("READONLY ") { return .server(message: message) }
      }
    } catch {
      return error
    }
  }
}
