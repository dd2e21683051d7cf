import Basics
import Reactor
import Redis
import Tasks
import Telemetry

/// The level of values that all processes share, in Redis, and the channel on which they tell each other to forget.
///
/// A copy that was read before a change could be put here after the one who has changed it has removed what there was.
/// So whoever has put a copy of a key here lately removes it once more when it hears of a change, and has all others
/// forget once more what they have in memory: one of them may have taken it from here meanwhile. Nobody answers that
/// with anything, so words do not lead to words without end.
///
///     <name> <key>   it has changed      <name>*   all may have
///     <name>+<key>   forget it again
final class SharedData {
  /// What is to be forgotten.
  enum Order: Hashable {
    case key(String)
    /// All keys that begin so; in memory everything.
    case all(prefix: String)
  }

  private let redis: RedisClient
  private let log: Logger
  /// What this process calls itself, to know its own messages.
  private let name: [UInt8]
  /// What was put here lately, and when.
  private var recent: [String: MonotonicTime] = [:]
  /// What Redis could not be told yet.
  private var untold: Set<Order> = []
  private var isTelling = false
  private var isClosed = false

  init(_ redis: RedisClient, log: Logger) {
    self.redis = redis
    self.log = log
    var random = SeededRandom.fromSystem()
    name = Array(String(random.next(), radix: 16).utf8)
  }

  /// The copy of `key` and how long it may still be answered, nil if there is none, or no answer. What is no copy is
  /// removed.
  func value(_ key: String, on reactor: isolated Reactor) async -> (value: DataValue, remaining: TimeSpan)? {
    do {
      guard let (bytes, lifetimeMs) = try await redis.getWithLifetime(SharedData.place(of: key), on: reactor) else {
        return nil
      }
      // One without an end was not put there by us.
      if lifetimeMs < .max, let value = DataValue(shared: bytes, at: reactor.now, Timestamp.current()) {
        return (value, .milliseconds(UInt64(max(lifetimeMs, 0))))
      }
      log.warning("the shared cache held what is no value of ours")
      _ = try? await redis.remove([SharedData.place(of: key)], on: reactor)
    } catch {
      log.debug("no answer from the shared cache", [("reason", "\(error)")])
    }
    return nil
  }

  /// Puts a copy here. The command leaves at once, so whoever hears of a change from now on removes it again.
  func keep(_ value: DataValue, of key: String, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    guard lifetime.milliseconds > 0, makeRoom(at: reactor.now) else { return }
    recent[key] = reactor.now
    let bytes = value.shared(at: reactor.now, Timestamp.current())
    Task.immediate(executorPreference: reactor.queue) {
      do {
        try await redis.set(
          SharedData.place(of: key), bytes, lifetimeMs: Int64(lifetime.milliseconds), on: reactor)
      } catch {
        log.debug("the shared cache did not take a value", [("reason", "\(error)")])
      }
    }
  }

  /// Removes the copies that `order` names, and tells all processes to forget them; whether Redis has taken that.
  func tell(_ order: Order, on reactor: isolated Reactor) async -> Bool {
    do throws(RedisError) {
      switch order {
      case .key(let key):
        recent[key] = nil
        try await remove(key, " ", on: reactor)
      case .all(let prefix):
        recent.removeAll()
        _ = try await redis.removeAll(prefix: SharedData.place(of: prefix), on: reactor)
        try await redis.publish(name + Array("*".utf8), to: SharedData.channel, on: reactor)
      }
      return true
    } catch {
      log.debug("other processes cannot be told to forget", [("reason", "\(error)")])
      return false
    }
  }

  /// Tells it when Redis is there again.
  func tellLater(_ order: Order, on reactor: isolated Reactor) {
    log.warning("other processes cannot be told to forget a value now; they will be")
    untold.insert(untold.count < Limits.dataUntoldMax ? order : .all(prefix: ""))
    guard !isTelling else { return }
    isTelling = true
    Task.immediate(executorPreference: reactor.queue) {
      while !isClosed, let next = untold.first {
        await reactor.sleep(for: Limits.dataTellAgain)
        if await tell(next, on: reactor) { untold.remove(next) }
      }
      isTelling = false
    }
  }

  /// Another process has changed what `order` names: what was put here of it lately may be what it was before.
  func forgetAgain(_ order: Order, on reactor: isolated Reactor) {
    let keys: [String]
    switch order {
    case .key(let key): keys = recent[key] == nil ? [] : [key]
    case .all: keys = Array(recent.keys)
    }
    for key in keys {
      guard let since = recent.removeValue(forKey: key), reactor.now.since(since) < Limits.dataRecent else { continue }
      Task.immediate(executorPreference: reactor.queue) {
        do throws(RedisError) {
          try await remove(key, "+", on: reactor)
        } catch {
          tellLater(order, on: reactor)
        }
      }
    }
  }

  /// What a message on the channel wants to be forgotten, and whether for the first time; nil if it is this process's
  /// own, or none.
  func read(_ message: [UInt8]) -> (order: Order, isFirst: Bool)? {
    if message.starts(with: name) { return nil }
    guard let end = message.firstIndex(where: { " +*".utf8.contains($0) }) else { return nil }
    switch message[end] {
    case UInt8(ascii: "*"): return (.all(prefix: ""), true)
    case let sign:
      let key = String(validating: message[(end + 1)...], as: UTF8.self)
      return key.map { (.key($0), sign == UInt8(ascii: " ")) }
    }
  }

  private func remove(_ key: String, _ sign: String, on reactor: isolated Reactor) async throws(RedisError) {
    try await redis.remove(
      SharedData.place(of: key), thenPublish: name + Array("\(sign)\(key)".utf8), to: SharedData.channel, on: reactor)
  }

  /// Nobody is told anything more.
  func close() {
    isClosed = true
  }

  private static let channel = Array(RedisNames.forgetChannel.utf8)

  private static func place(of key: String) -> [UInt8] { Array((RedisNames.dataPrefix + key).utf8) }

  /// Whether it can be remembered of one more key that it was put here.
  private func makeRoom(at now: MonotonicTime) -> Bool {
    if recent.count < Limits.dataRecentMax { return true }
    recent = recent.filter { now.since($0.value) < Limits.dataRecent }
    return recent.count < Limits.dataRecentMax
  }
}
