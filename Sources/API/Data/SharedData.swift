import Basics
import DataItems
import Reactor
import Redis
import Tasks
import Telemetry

/// The level of values that all processes share, in Redis. What it has is a copy that anybody may have put there at any
/// time, also behind a change; whether one is believed is decided by what it bears (`Coherence`).
final class SharedData {
  private let redis: RedisClient
  private let log: Logger

  init(_ redis: RedisClient, log: Logger) {
    self.redis = redis
    self.log = log
  }

  /// The copy of `key` and how long it may still be answered, nil if there is none, or no answer. What is no copy is
  /// removed.
  func value(_ key: DataKey, on reactor: isolated Reactor) async -> (value: DataValue, remaining: TimeSpan)? {
    let place = SharedData.place(of: key)
    do {
      guard let (bytes, lifetimeMs) = try await redis.getWithLifetime(Array(place.utf8), on: reactor) else {
        return nil
      }
      // One without an end was not put there by us.
      if lifetimeMs < .max, let value = DataValue(shared: bytes, in: place, at: reactor.now, .current()) {
        return (value, .milliseconds(UInt64(max(lifetimeMs, 0))))
      }
      log.warning("the shared cache held what is no value of ours")
      forget(key, on: reactor)
    } catch {
      log.debug("no answer from the shared cache", [("reason", "\(error)")])
    }
    return nil
  }

  /// Puts a copy here; nobody waits for that.
  func keep(_ value: DataValue, of key: DataKey, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    guard lifetime.milliseconds > 0 else { return }
    let place = SharedData.place(of: key)
    let bytes = value.shared(in: place, at: reactor.now, .current())
    Task.immediate(executorPreference: reactor.queue) {
      do {
        try await redis.set(Array(place.utf8), bytes, lifetimeMs: Int64(lifetime.milliseconds), on: reactor)
      } catch {
        log.debug("the shared cache did not take a value", [("reason", "\(error)")])
      }
    }
  }

  /// Removes the copy of `key`, which nobody believes any more; nobody waits for that.
  func forget(_ key: DataKey, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      _ = try? await redis.remove([Array(SharedData.place(of: key).utf8)], on: reactor)
    }
  }

  /// The same for all keys that begin with `prefix`; it takes a while.
  func forgetAll(prefix: String, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      for space in [DataKey.Space.item, .entry] {
        _ = try? await redis.removeAll(prefix: Array(SharedData.place(of: DataKey(space, prefix)).utf8), on: reactor)
      }
    }
  }

  private static func place(of key: DataKey) -> String {
    (key.space == .item ? RedisNames.dataPrefix : RedisNames.entryPrefix) + key.text
  }
}
