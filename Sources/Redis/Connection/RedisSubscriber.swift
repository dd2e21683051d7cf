import Basics
public import Reactor
public import Telemetry

/// Whoever acts on messages.
public protocol MessageReceiver: AnyObject {
  /// Something happened on the subscriptions.
  func received(_ event: RedisSubscriber.Event, on reactor: isolated Reactor)
}

/// Receives messages over a connection of its own, and says when it may have missed some.
///
/// Redis forgets a message once it is sent, so whoever listens must know about every gap: `connected` is called each
/// time the subscriptions stand (look then at the truth elsewhere for what was missed), `disconnected` each time they
/// fall. A connection that is silent is asked for a sign of life, so that a frozen server is noticed too.
public final class RedisSubscriber {
  /// What happens on the subscriptions.
  public enum Event {
    /// All subscriptions stand; messages before this moment may have been missed.
    case connected
    /// No messages come for now.
    case disconnected
    /// Somebody sent `payload` to `channel`.
    case message(channel: [UInt8], payload: [UInt8])
  }

  private let configuration: RedisConfiguration
  private let locator: RedisLocator
  private let logger: Logger
  private let metrics: RedisMetrics
  private let channels: [[UInt8]]
  private let receiver: any MessageReceiver
  private var connection: RedisConnection?
  private let pause = Pause()
  private var isClosed = false
  private var isSubscribed = false
  private var isComplaining = false

  /// A subscriber to `channels`, at least one, that begins to connect at once and tells `receiver` what happens.
  public init(
    _ configuration: RedisConfiguration, channels: [[UInt8]], resolver: Resolver, logger: Logger,
    metrics: RedisMetrics, receiver: any MessageReceiver, on reactor: isolated Reactor
  ) {
    precondition(!channels.isEmpty, "nothing to subscribe to")
    self.configuration = configuration
    self.channels = channels
    locator = RedisLocator(configuration, resolver)
    self.logger = logger.named("redis")
    self.metrics = metrics
    self.receiver = receiver
    Task.immediate(executorPreference: reactor.queue) { await self.run(on: reactor) }
  }

  /// Ends the connection and does not make it again.
  public func close(on reactor: isolated Reactor) {
    isClosed = true
    connection?.close(on: reactor)
    pause.end()
  }

  private func run(on reactor: isolated Reactor) async {
    var backoff = Backoff(base: .milliseconds(Limits.reconnectBaseMs), cap: .milliseconds(Limits.reconnectMaxMs))
    var random = SeededRandom.fromSystem()
    while !isClosed {
      do {
        let connection = try await locator.connect(on: reactor)
        self.connection = connection
        defer { connection.close(on: reactor) }
        if isClosed { return }
        try await connection.logIn(configuration, on: reactor)
        try await locator.learnNodes(of: connection, on: reactor)
        try await subscribe(connection, on: reactor)
        backoff.reset()
        try await receive(connection, on: reactor)
      } catch {
        if !isComplaining, !isClosed { logger.warning("subscription failed", [("reason", "\(error)")]) }
        isComplaining = true
      }
      connection = nil
      if isSubscribed { receiver.received(.disconnected, on: reactor) }
      isSubscribed = false
      if !isClosed { await pause.wait(until: reactor.now + backoff.next(using: &random), on: reactor) }
    }
  }

  private func subscribe(_ connection: RedisConnection, on reactor: isolated Reactor) async throws(RedisError) {
    connection.send([Array("SUBSCRIBE".utf8)] + channels, on: reactor)
    var confirmed = 0
    while confirmed < channels.count {
      let answer = try await connection.reply(until: reactor.now + configuration.connectTimeout, on: reactor)
      switch kind(of: answer) {
      case "subscribe": confirmed += 1
      case "message": deliver(answer, on: reactor)
      default:
        if case .error(let message) = answer { throw .server(message: message) }
        throw .malformedReply
      }
    }
    isSubscribed = true
    isComplaining = false
    logger.info("subscribed")
    receiver.received(.connected, on: reactor)
  }

  private func receive(_ connection: RedisConnection, on reactor: isolated Reactor) async throws(RedisError) {
    var isAwaitingPong = false
    while true {
      let patience = isAwaitingPong ? configuration.connectTimeout : .milliseconds(Limits.heartbeatMs)
      let answer: RedisValue
      do {
        answer = try await connection.reply(until: reactor.now + patience, on: reactor)
      } catch .timeout where !isAwaitingPong {
        isAwaitingPong = true
        connection.send([Array("PING".utf8)], on: reactor)
        continue
      }
      // Whatever came is a sign of life.
      isAwaitingPong = false
      switch kind(of: answer) {
      case "message": deliver(answer, on: reactor)
      case "pong": break
      default: throw .malformedReply
      }
    }
  }

  private func kind(of answer: RedisValue) -> String {
    String(decoding: answer.array?.first?.bytes ?? [], as: UTF8.self)
  }

  private func deliver(_ answer: RedisValue, on reactor: isolated Reactor) {
    guard let parts = answer.array, parts.count == 3, let channel = parts[1].bytes, let payload = parts[2].bytes else {
      return
    }
    metrics.messages.increment()
    receiver.received(.message(channel: channel, payload: payload), on: reactor)
  }
}
