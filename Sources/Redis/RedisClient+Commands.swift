public import Reactor

extension RedisClient {
  /// The value of `key` and the milliseconds it will live on, nil if there is none; a copy elsewhere must not live
  /// longer. A key without an end lives on for `Int64.max`.
  /// - Throws: `RedisError`.
  public func getWithLifetime(
    _ key: [UInt8], on reactor: isolated Reactor
  ) async throws(RedisError) -> (value: [UInt8], lifetimeMs: Int64)? {
    let answers = try await pipeline([[word("GET"), key], [word("PTTL"), key]], on: reactor)
    if case .error(let message)? = answers.first { throw .server(message: message) }
    guard let value = answers.first?.bytes, let lifetime = answers.last?.integer, lifetime != -2 else { return nil }
    return (value, lifetime == -1 ? .max : lifetime)
  }

  /// Stores `value` for `lifetimeMs`, 1 or more.
  /// - Throws: `RedisError`.
  public func set(
    _ key: [UInt8], _ value: [UInt8], lifetimeMs: Int64, on reactor: isolated Reactor
  ) async throws(RedisError) {
    _ = try await command(setCommand(key, value, lifetimeMs), on: reactor)
  }

  /// Stores several values for `lifetimeMs`, 1 or more, and sends `message` to `channel` behind them, all in one go:
  /// who hears the message finds the values.
  /// - Throws: `RedisError`, also if one of them was refused.
  public func setAll(
    _ entries: [(key: [UInt8], value: [UInt8])], lifetimeMs: Int64, thenPublish message: [UInt8], to channel: [UInt8],
    on reactor: isolated Reactor
  ) async throws(RedisError) {
    let commands = entries.map { setCommand($0.key, $0.value, lifetimeMs) } + [[word("PUBLISH"), channel, message]]
    for answer in try await pipeline(commands, on: reactor) {
      if case .error(let message) = answer { throw .server(message: message) }
    }
  }

  /// Sends `message` to whoever listens to `channel`, and tells how many connections that are.
  /// - Throws: `RedisError`.
  @discardableResult
  public func publish(
    _ message: [UInt8], to channel: [UInt8], on reactor: isolated Reactor
  ) async throws(RedisError) -> Int64 {
    try await command([word("PUBLISH"), channel, message], on: reactor).integer ?? 0
  }

  /// Removes `keys` and tells how many there were; their memory is freed in the background of the server.
  /// - Throws: `RedisError`.
  @discardableResult
  public func remove(_ keys: [[UInt8]], on reactor: isolated Reactor) async throws(RedisError) -> Int64 {
    guard !keys.isEmpty else { return 0 }
    return try await command([word("UNLINK")] + keys, on: reactor).integer ?? 0
  }

  /// Removes every key that begins with `prefix` and tells how many there were. Looks at all keys of the server, a few
  /// hundred at a time; keys stored meanwhile may stay.
  /// - Throws: `RedisError`.
  public func removeAll(prefix: [UInt8], on reactor: isolated Reactor) async throws(RedisError) -> Int64 {
    var removed: Int64 = 0
    var cursor = word("0")
    repeat {
      let answer = try await command(
        [word("SCAN"), cursor, word("MATCH"), pattern(prefix), word("COUNT"), word(String(Limits.scanCount))],
        on: reactor)
      guard let parts = answer.array, parts.count == 2, let next = parts[0].bytes, let found = parts[1].array else {
        throw .malformedReply
      }
      removed += try await remove(found.compactMap(\.bytes), on: reactor)
      cursor = next
    } while cursor != word("0")
    return removed
  }

  /// How many keys the server holds, whoever put them there.
  /// - Throws: `RedisError`.
  public func keyCount(on reactor: isolated Reactor) async throws(RedisError) -> Int {
    guard let count = try await command([word("DBSIZE")], on: reactor).integer else { throw .malformedReply }
    return Int(count)
  }

  /// What the server tells of itself: names and values of `INFO`.
  /// - Throws: `RedisError`.
  public func info(on reactor: isolated Reactor) async throws(RedisError) -> [String: String] {
    let answer = try await command([word("INFO")], on: reactor)
    var info: [String: String] = [:]
    for line in (answer.bytes ?? []).split(whereSeparator: { $0 == 0x0D || $0 == 0x0A }) {
      guard line.first != UInt8(ascii: "#"), let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
      let value = line[line.index(after: colon)...]
      info[String(decoding: line[..<colon], as: UTF8.self)] = String(decoding: value, as: UTF8.self)
    }
    return info
  }

  private func setCommand(_ key: [UInt8], _ value: [UInt8], _ lifetimeMs: Int64) -> [[UInt8]] {
    [word("SET"), key, value, word("PX"), word(String(max(lifetimeMs, 1)))]
  }

  private func word(_ text: String) -> [UInt8] { Array(text.utf8) }

  /// A glob that matches what begins with `prefix`.
  private func pattern(_ prefix: [UInt8]) -> [UInt8] {
    var pattern: [UInt8] = []
    for byte in prefix {
      if "*?[]\\^".utf8.contains(byte) { pattern.append(UInt8(ascii: "\\")) }
      pattern.append(byte)
    }
    return pattern + [UInt8(ascii: "*")]
  }
}
