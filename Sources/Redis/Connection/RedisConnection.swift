import Basics
import Reactor
import TLS

/// One connection that is logged in: commands go out, answers come in, in order. Nothing is remembered of what was
/// asked; that is its owner's business.
final class RedisConnection {
  private let stream: Stream
  private var tls: TLSSession?
  private let parser = ReplyParser()

  private init(_ stream: Stream) {
    self.stream = stream
  }

  /// Tries one address after the other, each with its share of the time, and connects to the first that answers;
  /// `logIn` comes next.
  static func connect(
    to addresses: [SocketAddress], _ configuration: RedisConfiguration, on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisConnection {
    var failure = RedisError.cannotConnect(reason: "no address")
    let share = TimeSpan(nanoseconds: configuration.connectTimeout.nanoseconds / UInt64(max(addresses.count, 1)))
    for address in addresses {
      do {
        return try await connect(to: address, configuration, until: reactor.now + share, on: reactor)
      } catch {
        failure = error
      }
    }
    throw failure
  }

  private static func connect(
    to address: SocketAddress, _ configuration: RedisConfiguration, until deadline: MonotonicTime,
    on reactor: isolated Reactor
  ) async throws(RedisError) -> RedisConnection {
    let connection: RedisConnection
    do {
      let fd = try await Connector.connect(to: address, until: deadline, on: reactor)
      connection = RedisConnection(try Stream(adopting: fd, on: reactor))
    } catch {
      throw .cannotConnect(reason: "\(error)")
    }
    guard let tls = configuration.tls else { return connection }
    do throws(RedisError) {
      try await connection.shakeHands(tls, configuration.tlsName, until: deadline, on: reactor)
    } catch {
      connection.close(on: reactor)
      throw error
    }
    return connection
  }

  /// Has the server prove who it is; everything is encrypted from here on.
  private func shakeHands(
    _ context: TLSContext, _ name: String?, until deadline: MonotonicTime, on reactor: isolated Reactor
  ) async throws(RedisError) {
    do {
      let session = try TLSSession(context, serverName: name)
      while true {
        let isOver = try session.shakeHands()
        stream.write(session.sealed(), on: reactor)
        if isOver { break }
        switch await stream.read(until: deadline, on: reactor) {
        case .bytes: take(session)
        case .deadline: throw RedisError.timeout
        case .endOfStream, .failed: throw RedisError.connectionLost
        }
      }
      tls = session
    } catch let error as RedisError {
      throw error
    } catch {
      throw .cannotConnect(reason: "\(error)")
    }
  }

  /// Hands what came over.
  private func take(_ session: TLSSession) {
    stream.input.withReadable { session.receive($0) }
    stream.input.removeAll()
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
    // Whom the Sentinels call master may not know of it yet, or not know yet that it is one no more.
    if configuration.master != nil { commands.append(["ROLE"]) }
    for command in commands { send(command.map { Array($0.utf8) }, on: reactor) }
    for command in commands {
      let answer = try await reply(until: deadline, on: reactor)
      if case .error(let message) = answer {
        // Who does not know a command repeats what it was sent with: nothing of that goes into a log.
        let words = command[0] == "AUTH" ? message.prefix { $0 != " " } : message[...]
        throw .cannotConnect(reason: "\(command[0]) refused: \(words)")
      }
      if command == ["ROLE"], answer.array?.first?.bytes != Array("master".utf8) {
        throw .cannotConnect(reason: "this server is no master")
      }
    }
  }

  /// `name` as Redis takes it: printable ASCII without blanks, everything else replaced.
  private static func permitted(_ name: String) -> String {
    String(decoding: name.utf8.map { (0x21...0x7E).contains($0) ? $0 : UInt8(ascii: "-") }, as: UTF8.self)
  }

  /// Appends a command to what leaves before the loop sleeps next.
  func send(_ arguments: [[UInt8]], on reactor: isolated Reactor) {
    CommandFormatter.format(arguments) { bytes in
      guard let tls else { return stream.write(bytes, on: reactor) }
      tls.seal(bytes)
      stream.write(tls.sealed(), on: reactor)
    }
  }

  /// The next answer.
  func reply(until deadline: MonotonicTime = .never, on reactor: isolated Reactor) async throws(RedisError)
    -> RedisValue
  {
    while true {
      if let value = try parser.next() { return value }
      switch await stream.read(until: deadline, on: reactor) {
      case .bytes:
        if let tls {
          take(tls)
          do {
            try tls.open { parser.feed($0) }
          } catch {
            throw .connectionLost
          }
          stream.write(tls.sealed(), on: reactor)
        } else {
          stream.input.withReadable { parser.feed($0) }
          stream.input.removeAll()
        }
      case .deadline: throw .timeout
      case .endOfStream, .failed: throw .connectionLost
      }
    }
  }

  func close(on reactor: isolated Reactor) {
    stream.close(on: reactor)
  }
}
