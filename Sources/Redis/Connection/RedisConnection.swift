import Basics
import Reactor

/// One connection that is logged in: commands go out, answers come in, in order. Nothing is remembered of what was
/// asked; that is its owner's business.
final class RedisConnection {
  private let stream: Stream
  private let parser = ReplyParser()

  private init(_ stream: Stream) {
    self.stream = stream
  }

  /// Connects to the server; `logIn` comes next.
  static func connect(
    _ configuration: RedisConfiguration, _ resolver: Resolver, on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisConnection {
    let addresses = try await resolve(configuration.endpoint, resolver, on: reactor)
    return try await connect(to: addresses, within: configuration.connectTimeout, on: reactor)
  }

  /// Tries one address after the other, each with its share of the time, and connects to the first that answers.
  static func connect(
    to addresses: [SocketAddress], within time: TimeSpan, on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisConnection {
    var failure = RedisError.cannotConnect(reason: "no address")
    let share = TimeSpan(nanoseconds: time.nanoseconds / UInt64(max(addresses.count, 1)))
    for address in addresses {
      do {
        return try await connect(to: address, until: reactor.now + share, on: reactor)
      } catch {
        failure = error
      }
    }
    throw failure
  }

  private static func connect(
    to address: SocketAddress, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisConnection {
    do {
      let fd = try await Connector.connect(to: address, until: deadline, on: reactor)
      return RedisConnection(try Stream(adopting: fd, on: reactor))
    } catch {
      throw .cannotConnect(reason: "\(error)")
    }
  }

  private static func resolve(
    _ endpoint: String, _ resolver: Resolver, on reactor: isolated Reactor
  ) async throws(RedisError) -> [SocketAddress] {
    if let address = SocketAddress(endpoint) { return [address] }
    guard let colon = endpoint.lastIndex(of: ":"), let port = UInt16(endpoint[endpoint.index(after: colon)...]) else {
      throw .cannotConnect(reason: "\(endpoint) is no address")
    }
    do {
      return try await resolver.addresses(of: String(endpoint[..<colon]), port: port, on: reactor)
    } catch {
      throw .cannotConnect(reason: "\(error)")
    }
  }

  /// Logs in and waits until the server has answered a PING: a frozen server's kernel still accepts connections, so
  /// only an answer proves that it is there.
  func logIn(_ configuration: RedisConfiguration, on reactor: isolated Reactor) async throws(RedisError) {
    let deadline = reactor.now + configuration.connectTimeout
    var commands: [[String]] = []
    if let password = configuration.password {
      commands.append(["AUTH"] + (configuration.user.map { [$0] } ?? []) + [password])
    }
    if configuration.database != 0 { commands.append(["SELECT", String(configuration.database)]) }
    commands.append(["CLIENT", "SETNAME", RedisConnection.permitted(configuration.clientName)])
    commands.append(["PING"])
    for command in commands { send(command.map { Array($0.utf8) }, on: reactor) }
    for command in commands {
      if case .error(let message) = try await reply(until: deadline, on: reactor) {
        throw .cannotConnect(reason: "\(command[0]) refused: \(message)")
      }
    }
  }

  /// `name` as Redis takes it: printable ASCII without blanks, everything else replaced.
  private static func permitted(_ name: String) -> String {
    String(decoding: name.utf8.map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "-") }, as: UTF8.self)
  }

  /// Appends a command to what leaves before the loop sleeps next.
  func send(_ arguments: [[UInt8]], on reactor: isolated Reactor) {
    CommandFormatter.format(arguments) { stream.write($0, on: reactor) }
  }

  /// The next answer.
  func reply(until deadline: MonotonicTime = .never, on reactor: isolated Reactor) async throws(RedisError)
    -> RedisValue
  {
    while true {
      if let value = try parser.next() { return value }
      switch await stream.read(until: deadline, on: reactor) {
      case .bytes:
        stream.input.withReadable { parser.feed($0) }
        stream.input.removeAll()
      case .deadline: throw .timeout
      case .endOfStream, .failed: throw .connectionLost
      }
    }
  }

  func close(on reactor: isolated Reactor) {
    stream.close(on: reactor)
  }
}
