import Basics
import Caching
import DataItems
import Reactor
import Telemetry

/// Where values are put, and how they go.
extension DataCache {
  /// What was found climbs to the level above, or to all of them if it was in memory before.
  func climb(
    _ found: Found, of query: DataQuery, _ flight: Flight?, isRefresh: Bool, on reactor: isolated Reactor
  ) {
    guard let flight, let value = found.value, var level = found.level, query.level == nil,
      !flights.isOvertaken(flight)
    else { return }
    while let next = times.promotion(
      from: level, remaining: found.remaining, wish: query.lifetime, using: &random)
    {
      level = next.level
      if level == .l1 {
        remember(value, of: query, for: next.lifetime, trueAt: found.trueAt, at: reactor.now)
      } else {
        share(value, of: query.key, for: next.lifetime, on: reactor)
      }
      // Without a Redis the level above is memory.
      guard isRefresh || shared == nil else { return }
    }
  }

  /// Keeps in memory for a moment that there is no value.
  func rememberNone(of query: DataQuery, _ flight: Flight?, trueAt: MonotonicTime, on reactor: isolated Reactor) {
    guard let flight, query.level ?? .l1 == .l1, !flights.isOvertaken(flight) else { return }
    remember(nil, of: query, for: times.negative, trueAt: trueAt, at: reactor.now)
  }

  /// Keeps a value in memory. One whose lifetime nobody has asked for stays longer than that, to be answered while
  /// another one is loaded.
  func remember(
    _ value: DataValue?, of query: DataQuery, for lifetime: TimeSpan, trueAt: MonotonicTime, at now: MonotonicTime
  ) {
    let staysOn = value != nil && query.key.space == .item && query.lifetime == nil
    let expiry = now + lifetime + (staysOn ? times.staleIfFailed : .milliseconds(0))
    memory.set(
      Entry(value: value, trueAt: trueAt, freshUntil: now + lifetime), for: query.key,
      bytes: query.key.text.utf8.count + (value?.bytes ?? 128), expiry: expiry, at: now)
    levels[0].sets += 1
    held.set(memory.bytes)
  }

  func share(_ value: DataValue, of key: DataKey, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    guard let shared else { return }
    levels[CacheLevel.l2.rawValue - 1].sets += 1
    shared.keep(value, of: key, for: lifetime, on: reactor)
  }

  /// Keeps `item` beside the values, unless it has changed by then. Nobody waits for that.
  func keep(_ item: DataStore.Item, of key: DataKey, for lifetime: TimeSpan, on reactor: isolated Reactor) {
    let readAt = reactor.now
    levels[CacheLevel.l3.rawValue - 1].sets += 1
    Task.immediate(executorPreference: reactor.queue) {
      do throws(DataError) {
        let age = reactor.now.since(readAt)
        try await store.keep(key.text, version: item.version, age: age, for: lifetime, on: reactor)
      } catch {
        log.debug("a value was not kept beside its source", [("reason", "\(error)")])
      }
    }
  }

  // MARK: Changing

  /// Gives `key` another value. A process that does not hear of it at once believes the former one for less than a
  /// second.
  /// - Throws: `DataError`; if that is unknown it may have been stored.
  func put(_ key: String, _ json: [UInt8], on reactor: isolated Reactor) async throws(DataError) {
    // Also if it is not known whether it was stored.
    defer { forget(DataKey(.item, key), on: reactor) }
    try await store.put(key, json, on: reactor)
  }

  /// Puts an entry into the cache itself, into `level` alone or, if that is nil, into all of them.
  /// - Throws: `DataError`; if that is unknown it may have been stored.
  func putEntry(
    _ key: String, _ json: [UInt8], for lifetime: TimeSpan, in level: CacheLevel?, on reactor: isolated Reactor
  ) async throws(DataError) {
    let query = DataQuery(key: DataKey(.entry, key), level: level)
    let askedAt = reactor.now
    let mark: DataStore.Mark
    do throws(DataError) {
      if level ?? .l3 == .l3 {
        mark = try await store.putEntry(key, json, for: lifetime, on: reactor)
        levels[CacheLevel.l3.rawValue - 1].sets += 1
      } else {
        mark = try await store.replaceEntry(key, on: reactor)
      }
    } catch {
      forget(query.key, on: reactor)
      throw error
    }
    heard(.value(key: query.key, version: mark.version), on: reactor)
    // The feed, or another request's answer, may have been faster to tell of a later one.
    guard !coherence.isOvertaken(query.key.hashValue, version: mark.version, stamp: mark.stamp, since: askedAt) else {
      return
    }
    let value = DataValue(json, version: mark.version, stamp: mark.stamp, at: reactor.now)
    let random = { (level: CacheLevel) in self.times.lifetime(in: level, wish: lifetime, using: &self.random) }
    if level ?? .l2 == .l2 { share(value, of: query.key, for: level == .l2 ? lifetime : random(.l2), on: reactor) }
    if level == .l1 {
      remember(value, of: query, for: lifetime, trueAt: askedAt, at: reactor.now)
    } else if level == nil {
      remember(value, of: query, for: random(.l1), trueAt: askedAt, at: reactor.now)
    }
  }

  /// Forgets what is kept of `key` in all levels, entries of that key too, and has all other processes do so.
  /// - Throws: `DataError` if PostgreSQL has no answer: nobody else has heard of it then.
  func invalidate(_ key: String, on reactor: isolated Reactor) async throws(DataError) {
    defer { for space in [DataKey.Space.item, .entry] { forget(DataKey(space, key), on: reactor) } }
    try await store.forget(key, on: reactor)
  }

  /// Forgets what is kept of all keys that begin with `prefix` in all levels, and has all other processes forget
  /// whatever they have.
  /// - Throws: `DataError` if PostgreSQL has no answer: nobody else has heard of it then.
  func invalidateAll(prefix: String, on reactor: isolated Reactor) async throws(DataError) {
    defer {
      forgetAll()
      // In Redis it takes a while, and the feed may tell of it later than this answer: nothing from there is believed
      // until a look from now on.
      coherence.invalidatedAll(at: .current())
      shared?.forgetAll(prefix: prefix, on: reactor)
    }
    try await store.forgetAll(prefix: prefix, on: reactor)
  }

  private func forget(_ key: DataKey, on reactor: isolated Reactor) {
    forget(key)
    // Nobody would believe it; whoever looks with redis-cli need not see it either.
    shared?.forget(key, on: reactor)
  }

  /// Forgets `key` in memory, unless that is good, and what is on its way there.
  private func forget(_ key: DataKey, unless isGood: (DataValue) -> Bool = { _ in false }) {
    for isRefresh in [false, true] {
      for level in [nil] + CacheLevel.allCases.map(Optional.some) {
        flights.overtake(Wish(key: key, level: level, isRefresh: isRefresh))
      }
    }
    if key.space == .item { parts.forget(key) }
    if memory.remove(key, unless: { $0.value.map(isGood) ?? false }) { levels[0].invalidations += 1 }
    held.set(memory.bytes)
  }

  /// Forgets everything in memory, and what is on its way there.
  func forgetAll() {
    flights.overtakeAll()
    parts.forgetAll()
    levels[0].invalidations += memory.removeAll()
    held.set(memory.bytes)
  }

  // MARK: Hearing of changes

  func feedBegan(on reactor: isolated Reactor) {
    // What was missed is not known.
    forgetAll()
    coherence.began(at: reactor.now)
  }

  func feedEnded(on reactor: isolated Reactor) {
    coherence.ended()
  }

  func proved(at time: MonotonicTime, clock: Int64, on reactor: isolated Reactor) {
    coherence.proved(at: time, clock: clock)
  }

  func heard(_ change: DataChange, on reactor: isolated Reactor) {
    switch change {
    case .value(let key, let version):
      coherence.changed(key.hashValue, to: version, at: reactor.now)
      // What is in memory may be that very one, or a later one.
      forget(key) { $0.version >= version }
    case .invalidated(let text, let stamp):
      for key in [DataKey(.item, text), DataKey(.entry, text)] {
        coherence.invalidated(key.hashValue, since: stamp, at: reactor.now)
        forget(key) { $0.stamp > stamp }
      }
    case .allInvalidated(.max):
      coherence.invalidatedAll(at: reactor.now)
      forgetAll()
    case .allInvalidated(let stamp):
      coherence.invalidatedAll(since: stamp)
      forgetAll()
    }
  }
}
