public import Basics
import Glibc
public import HTTPSyntax
public import Reactor
public import Telemetry

/// Whoever answers the requests that a server reads.
public protocol HTTPHandler: AnyObject {
  /// Decides, when only the head is known, whether the body is wanted.
  func admit(_ request: HTTPRequest, on reactor: isolated Reactor) -> HTTPAdmission
  /// Answers a request that was admitted and is now complete.
  func respond(to request: HTTPRequest, on reactor: isolated Reactor) async -> HTTPResponse
}

extension HTTPHandler {
  /// Admits and answers a request whose body is already at hand.
  public func answer(_ request: HTTPRequest, on reactor: isolated Reactor) async -> HTTPResponse {
    switch admit(request, on: reactor) {
    case .refuse(let response): return response
    case .body(let bytesMax), .stream(let bytesMax):
      if request.body.count > bytesMax {
        return request.answer(Problem(413, "The body is larger than \(bytesMax) bytes."))
      }
      return await respond(to: request, on: reactor)
    }
  }
}

/// What a handler says to a request's head.
public enum HTTPAdmission {
  /// Read the body up to this many bytes, then ask `respond`.
  case body(bytesMax: Int)
  /// Ask `respond` at once; it reads the body itself, up to this many bytes, with the request's `bodyReader`.
  case stream(bytesMax: Int)
  /// Answer at once.
  case refuse(HTTPResponse)
}

/// Serves HTTP/1.1 on one reactor: takes connections, reads requests strictly and within limits, and has a handler
/// answer them in order. One long-lived task a connection, straight-line code in `HTTPConnection`.
public final class HTTPServer: ConnectionAcceptor {
  let handler: any HTTPHandler
  let metrics: HTTPServerMetrics
  let times: HTTPServerTimes
  /// What bodies and answers in progress may hold.
  let budget: ByteBudget
  private let log: Logger
  var date = DateField()
  var random = SeededRandom.fromSystem()
  /// A head while it is put together; every connection uses it in turn, never across an await.
  var scratch: [UInt8] = []

  /// Whether the server takes no more connections and ends those it has.
  public private(set) var isDraining = false
  private var listeners: [Listener] = []
  private var connections: [ObjectIdentifier: HTTPConnection] = [:]
  private let connectionsMax: Int
  /// Whether clients wait to be let in because nobody could give way.
  private(set) var isAwaitingRoom = false
  private let drained = Pause()

  /// A server for `handler` that listens nowhere yet; `log` gets what clients are refused, by request id, and `budget`
  /// (nil: one of its own) bounds what it holds for them.
  public init(
    handler: any HTTPHandler, metrics: HTTPServerMetrics, log: Logger, budget: ByteBudget? = nil,
    times: HTTPServerTimes = HTTPServerTimes(), connectionsMax: Int = HTTPLimits.connectionsMax
  ) {
    self.budget = budget ?? ByteBudget(limit: HTTPLimits.bufferedBytesMax, metrics: metrics.buffers)
    self.handler = handler
    self.metrics = metrics
    self.log = log
    self.times = times
    self.connectionsMax = min(connectionsMax, max(8, DescriptorLimit.free - HTTPLimits.descriptorsKept))
  }

  /// Listens on `address`; may be called for several.
  /// - Returns: the address with the port that the kernel chose.
  /// - Throws: `SystemError` if the address is taken or not allowed.
  @discardableResult
  public func listen(
    on address: SocketAddress, reusePort: Bool = false, on reactor: isolated Reactor
  ) throws(SystemError) -> SocketAddress {
    let listener = try Listener(on: address, reusePort: reusePort, acceptor: self, on: reactor)
    listeners.append(listener)
    return listener.address
  }

  /// How many connections are open.
  var connectionCount: Int { connections.count }

  /// Whether as many connections are open as may be.
  public var isFull: Bool { connections.count >= connectionsMax }

  /// At the bound those give way who have been idle for longest, a part of all at once.
  public func makeRoom(on reactor: isolated Reactor) -> Bool {
    let idle = connections.values.filter { $0.maySpare(at: reactor.now) }.sorted { $0.idleSince < $1.idleSince }
    for connection in idle.prefix(max(1, connectionsMax / 64)) {
      metrics.connectionsGaveWay.increment()
      connection.closeIfIdle(on: reactor)
    }
    // One that gives way tells when it has ended.
    isAwaitingRoom = idle.isEmpty
    return !isFull
  }

  /// A connection has no request in progress any more, and could give way to those who wait to be let in.
  func becameIdle(on reactor: isolated Reactor) {
    guard isAwaitingRoom else { return }
    isAwaitingRoom = false
    for listener in listeners { listener.resume(on: reactor) }
  }

  /// Serves a connection that was accepted.
  public func accepted(_ fd: CInt, from peer: SocketAddress, on reactor: isolated Reactor) {
    do {
      let stream = try Stream(adopting: fd, on: reactor)
      let connection = HTTPConnection(server: self, stream: stream, peer: peer)
      connections[ObjectIdentifier(connection)] = connection
      metrics.connectionsOpen.add(1)
      Task.immediate(executorPreference: reactor.queue) { await connection.serve(on: reactor) }
    } catch {
      close(fd)
    }
  }

  /// Accepting rests, because the process is out of something.
  public func acceptingPaused(_ error: SystemError, on reactor: isolated Reactor) {
    log.warning("accepting connections rests for a moment", [("reason", "\(error)")])
  }

  func logProblem(_ request: HTTPRequest, _ response: HTTPResponse) {
    log.debug(
      "a request was refused or failed",
      [
        ("status", "\(response.status)"), ("reason", response.reason ?? ""),
        ("request_id", String(decoding: request.id, as: UTF8.self)),
      ])
  }

  /// Takes what the kernel has accepted already, stops listening, answers what comes within a moment with
  /// `Connection: close`, ends idle connections, lets requests in progress end, and returns when all connections are
  /// gone; at `deadline` it cuts what is left.
  public func drain(until deadline: MonotonicTime, on reactor: isolated Reactor) async {
    isDraining = true
    for listener in listeners { await listener.closeAfterLast(on: reactor) }
    listeners.removeAll()
    if !connections.isEmpty {
      await drained.wait(until: min(deadline, reactor.now + times.drainGrace), on: reactor)
    }
    for connection in connections.values { connection.closeIfIdle(on: reactor) }
    if !connections.isEmpty { await drained.wait(until: deadline, on: reactor) }
    for connection in connections.values { connection.cut(on: reactor) }
  }

  func ended(_ connection: HTTPConnection, on reactor: isolated Reactor) {
    guard connections.removeValue(forKey: ObjectIdentifier(connection)) != nil else { return }
    metrics.connectionsOpen.add(-1)
    budget.freed(HTTPLimits.connectionBytes, on: reactor)
    for listener in listeners { listener.resume(on: reactor) }
    if connections.isEmpty { drained.end() }
  }
}

/// The metrics of all servers of a process.
public struct HTTPServerMetrics: Sendable {
  let connectionsOpen: Gauge
  let connectionsGaveWay: Counter
  let requestSeconds: Histogram
  /// For the budgets of those servers.
  public let buffers: ByteBudgetMetrics
  private let answers: [Counter]

  /// Registers the metrics.
  public init(_ metrics: Metrics) {
    buffers = ByteBudgetMetrics(metrics)
    connectionsOpen = metrics.gauge("millrace_http_connections_open", "Open client connections.")
    connectionsGaveWay = metrics.counter(
      "millrace_http_connections_gave_way_total", "Idle connections that were closed to make room for others.")
    requestSeconds = metrics.histogram("millrace_http_request_seconds", "From the first byte to the answer.")
    answers = (1...5).map {
      metrics.counter("millrace_http_answers_total", "Answers by class of status.", [("class", "\($0)xx")])
    }
  }

  func count(status: Int, after span: TimeSpan) {
    answers[min(max(status / 100, 1), 5) - 1].increment()
    requestSeconds.observe(span)
  }
}
