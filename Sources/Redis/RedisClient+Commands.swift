public import Basics
public import Reactor

extension RedisClient {
  /// The value of `key` and the milliseconds it will live on, nil if there is none; a copy elsewhere must not live
  /// longer. A key without an end lives on for `Int64.max`.
  /// - Throws: `RedisError`.
  public func getWithLifetime(
    _ key: [UInt8], on reactor: isolated Reactor
  ) async throws(RedisError) -> (value: [UInt8], lifetimeMs: Int64)? {
    let answers = try await pipeline([[word("GET"), key], [word("PTTL"), key]], about: key, on: reactor)
    if case .error(let message)? = answers.first { throw .server(message: message) }
    guard let value = answers.first?.bytes, let lifetime = answers.last?.integer, lifetime != -2 else { return nil }
    return (value, lifetime == -1 ? .max : lifetime)
  }

  /// Stores `value` for `lifetimeMs`, 1 or more.
  /// - Throws: `RedisError`.
  public func set(
    _ key: [UInt8], _ value: [UInt8], lifetimeMs: Int64, on reactor: isolated Reactor
  ) async throws(RedisError) {
    _ = try await command(setCommand(key, value, lifetimeMs), about: key, on: reactor)
  }

  /// Stores several values for `lifetimeMs`, 1 or more, and sends `message` to `channel` behind them: who hears the
  /// message finds the values. One server gets all that in one go; of a cluster, each node what is its own, and one
  /// then the message.
  /// - Throws: `RedisError`, also if one of them was refused.
  public func setAll(
    _ entries: [(key: [UInt8], value: [UInt8])], lifetimeMs: Int64, thenPublish message: [UInt8], to channel: [UInt8],
    on reactor: isolated Reactor
  ) async throws(RedisError) {
    var commands = entries.map { (key: $0.key, command: setCommand($0.key, $0.value, lifetimeMs)) }
    let isTogether = !isCluster
    if isTogether { commands.append((channel, [word("PUBLISH"), channel, message])) }
    _ = try await pipelineEach(commands, on: reactor)
    if !isTogether { try await publish(message, to: channel, on: reactor) }
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
    // One command for all, but each key may be at another node of a cluster.
    guard isCluster else { return try await command([word("UNLINK")] + keys, on: reactor).integer ?? 0 }
    let removed = try await pipelineEach(keys.map { ($0, [word("UNLINK"), $0]) }, on: reactor)
    return removed.reduce(0) { $0 &+ ($1.integer ?? 0) }
  }

  /// Removes every key that begins with `prefix` and tells how many there were. Looks at all keys of the server, a few
  /// hundred at a time; keys stored meanwhile may stay. Gives up after `patience`: nothing else ends a server that says
  /// that there are ever more.
  /// - Throws: `RedisError`.
  public func removeAll(
    prefix: [UInt8], for patience: TimeSpan = .milliseconds(Limits.removalMs), on reactor: isolated Reactor
  ) async throws(RedisError) -> Int64 {
    let deadline = reactor.now + patience
    var removed: Int64 = 0
    for server in try eachServer(on: reactor) {
      var cursor = word("0")
      repeat {
        guard reactor.now < deadline else { throw .timeout }
        let answer = try await server.command(
          [word("SCAN"), cursor, word("MATCH"), pattern(prefix), word("COUNT"), word(String(Limits.scanCount))],
          on: reactor)
        guard let parts = answer.array, parts.count == 2, let next = parts[0].bytes, let found = parts[1].array else {
          throw refusal(answer)
        }
        removed &+= try await remove(found.compactMap(\.bytes), on: reactor)
        cursor = next
      } while cursor != word("0")
    }
    return removed
  }

  /// How many keys the servers hold, whoever put them there.
  /// - Throws: `RedisError`.
  public func keyCount(on reactor: isolated Reactor) async throws(RedisError) -> Int {
    var keys = 0
    for server in try eachServer(on: reactor) {
      let answer = try await server.command([word("DBSIZE")], on: reactor)
      guard let count = answer.integer else { throw refusal(answer) }
      keys &+= Int(count)
    }
    return keys
  }

  /// What the servers tell of themselves: names and values of `INFO`. Of a cluster, whole numbers are sums over its
  /// nodes, and everything else is what one of them says.
  /// - Throws: `RedisError`.
  public func info(on reactor: isolated Reactor) async throws(RedisError) -> [String: String] {
    var info: [String: String] = [:]
    for server in try eachServer(on: reactor) {
      let answer = try await server.command([word("INFO")], on: reactor)
      guard let text = answer.bytes else { throw refusal(answer) }
      for line in text.split(whereSeparator: { $0 == 0x0D || $0 == 0x0A }) {
        guard line.first != UInt8(ascii: "#"), let colon = line.firstIndex(of: UInt8(ascii: ":")) else { continue }
        let name = String(decoding: line[..<colon], as: UTF8.self)
        let value = String(decoding: line[line.index(after: colon)...], as: UTF8.self)
        if let sum = info[name].flatMap({ Int64($0) }), let number = Int64(value) {
          info[name] = String(sum &+ number)
        } else {
          info[name] = value
        }
      }
    }
    return info
  }

  private func refusal(_ answer: RedisValue) -> RedisError {
    if case .error(let message) = answer { .server(message: message) } else { .malformedReply }
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
