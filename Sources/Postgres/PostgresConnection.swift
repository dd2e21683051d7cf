public import Basics
import CPostgres
import Glibc
public import Reactor

/// One connection in pipeline mode: any number of requests may be in flight, each ended by a sync of its own, so that
/// one that fails takes no other with it. All statements of a request form one transaction.
///
/// Level-triggered: libpq reads a part of what there is at a time. Made by `connect`, ended by `close` or by the
/// server; `whenLost` tells, and what was in flight fails with `connectionLost`.
public final class PostgresConnection: EventHandler {
  /// One request: statements with their parameters, and where its results go.
  final class Request {
    let steps: [(statement: PostgresStatement, parameters: PostgresParameters)]
    let deadline: MonotonicTime
    var results: [PostgresResult] = []
    var error: PostgresError?
    /// What the server has yet to answer, in order: a statement that is being prepared, or nil for an execution.
    var expected: [PostgresStatement?] = []
    var waiter: UnsafeContinuation<Void, Never>?
    /// Called at the end of a request that nobody awaits.
    var ended: ((Result<PostgresResult, PostgresError>) -> Void)?
    /// Whether its caller was told that it has passed its deadline.
    var isAbandoned = false
    /// When the server is asked to stop working on it,
    var stopsAt: MonotonicTime
    /// and when the server, having been asked, counts as gone.
    var givenUpAt = MonotonicTime.never
    /// A cancel that was meant for another one has hit it.
    var isHit = false

    /// What became of its first statement.
    var outcome: Result<PostgresResult, PostgresError> { error.map(Result.failure) ?? .success(results[0]) }

    init(_ steps: [(PostgresStatement, PostgresParameters)], deadline: MonotonicTime) {
      self.steps = steps.map { (statement: $0.0, parameters: $0.1) }
      self.deadline = deadline
      stopsAt = deadline
    }
  }

  /// A statement that is sent right before or behind a request, in a transaction of its own, and that nobody awaits.
  public struct Companion {
    let step: (PostgresStatement, PostgresParameters)
    let ended: (Result<PostgresResult, PostgresError>) -> Void

    /// A companion; `ended` is called with its rows when it was committed, or with what went wrong: before the
    /// request's caller goes on, if it was sent before it.
    public init(
      _ step: (PostgresStatement, PostgresParameters),
      ended: @escaping (Result<PostgresResult, PostgresError>) -> Void
    ) {
      self.step = step
      self.ended = ended
    }
  }

  /// When a request was sent or answered last.
  private(set) var usedAt = MonotonicTime(nanoseconds: 0)
  /// Whether it has had so large an answer that it is better replaced when it has nothing to do,
  private(set) var isSwollen = false
  /// and who is told when that begins.
  var swelled: (() -> Void)?

  /// Receives notifications: channel and payload.
  public var notificationReceiver: (any PostgresNotificationReceiver)?

  var handle: OpaquePointer?
  private var fd: CInt = -1
  var inFlight = RingQueue<Request>()
  private var prepared: Set<PostgresStatement> = []
  private var isWatchingWrites = false
  private var lostWaiters: [UnsafeContinuation<Void, Never>] = []
  /// Cancels that were sent and have not been seen to hit anything.
  private var cancelsUnderWay = 0
  private let limiter: ConnectionLimiter
  private let canceller: ComputePool
  lazy var timer = ReactorTimer(self)
  /// When the timer fires. It is touched only for something earlier: almost no request comes near its deadline.
  private var wakesAt = MonotonicTime.never

  init(handle: OpaquePointer, limiter: ConnectionLimiter, canceller: ComputePool) {
    self.handle = handle
    self.limiter = limiter
    self.canceller = canceller
  }

  deinit {
    if let handle {
      PQfinish(handle)
      limiter.release()
    }
  }

  /// Whether requests can be sent.
  public var isOpen: Bool { handle != nil }

  /// How many requests wait for their results.
  var requestsInFlight: Int { inFlight.count }

  /// The server process behind this connection.
  var backendProcessId: Int32 { handle.map { PQbackendPID($0) } ?? 0 }

  /// Sends one statement and waits for its rows.
  /// - Throws: `PostgresError`.
  public func execute(
    _ statement: PostgresStatement, _ parameters: PostgresParameters = PostgresParameters(),
    until deadline: MonotonicTime? = nil, on reactor: isolated Reactor
  ) async throws(PostgresError) -> PostgresResult {
    try await execute([(statement, parameters)], until: deadline, on: reactor)[0]
  }

  /// Sends several statements as one transaction, in one write, and waits for the rows of all. `before` and `behind`
  /// leave with them and are not waited for.
  /// - Throws: `PostgresError`; nothing of the transaction was kept unless the code is `connectionLost` or `deadline`.
  public func execute(
    _ steps: [(PostgresStatement, PostgresParameters)], before: Companion? = nil,
    behind: Companion? = nil, until deadline: MonotonicTime? = nil, on reactor: isolated Reactor
  ) async throws(PostgresError) -> [PostgresResult] {
    guard isOpen else { throw PostgresError(.connectionLost, "the connection is closed") }
    guard inFlight.count < Limits.requestsPerConnection else {
      throw PostgresError(.overloaded, "\(inFlight.count) requests are waiting")
    }
    let request = Request(steps, deadline: deadline ?? reactor.now + .seconds(Limits.requestSeconds))
    if let before { send(before, until: request.deadline, on: reactor) }
    guard isOpen else { throw PostgresError(.connectionLost, "the connection is closed") }
    send(request, on: reactor)
    if let behind { send(behind, until: request.deadline, on: reactor) }
    // Sending may have found the connection lost, and the request with it: then nobody would resume it.
    if isOpen { await withUnsafeContinuation { request.waiter = $0 } }
    if let error = request.error { throw error }
    return request.results
  }

  /// Suspends until the connection is gone, for whatever reason.
  public func whenLost(on reactor: isolated Reactor) async {
    guard isOpen else { return }
    await withUnsafeContinuation { lostWaiters.append($0) }
  }

  /// Ends the connection; what is in flight fails with `connectionLost`.
  public func close(on reactor: isolated Reactor) {
    lose("closed by this side", on: reactor)
  }

  /// Whether it was closed to be replaced.
  private(set) var isReplaced = false

  /// The same for one that has nothing to do and is to be replaced.
  func replace(on reactor: isolated Reactor) {
    guard isOpen else { return }
    isReplaced = true
    close(on: reactor)
  }

  /// Starts to watch the socket of a connection that has just been established.
  func watch(on reactor: isolated Reactor) throws(SystemError) {
    guard let handle else { return }
    fd = PQsocket(handle)
    try reactor.register(self, fd: fd, events: .readable)
  }

  private func send(_ companion: Companion, until deadline: MonotonicTime, on reactor: isolated Reactor) {
    guard isOpen else { return companion.ended(.failure(PostgresError(.connectionLost, "the connection is closed"))) }
    let request = Request([companion.step], deadline: deadline)
    request.ended = companion.ended
    send(request, on: reactor)
  }

  private func send(_ request: Request, on reactor: isolated Reactor) {
    guard let handle else { return }
    usedAt = reactor.now
    inFlight.append(request)
    // What libpq refuses to send, for want of memory, would leave a part of a transaction in the line. Without the sync
    // behind it nothing of that part is kept when the connection ends.
    guard queue(request, handle), PQpipelineSync(handle) == 1 else {
      return lose(String(cString: PQerrorMessage(handle)), on: reactor)
    }
    wake(at: request.deadline, on: reactor)
    reactor.flushBeforeSleep(self)
  }

  /// Hands all statements of a request to libpq; false if it does not take one.
  private func queue(_ request: Request, _ handle: OpaquePointer) -> Bool {
    for step in request.steps {
      if prepared.insert(step.statement).inserted {
        request.expected.append(step.statement)
        if PQsendPrepare(handle, step.statement.name, step.statement.sql, 0, nil) == 0 { return false }
      }
      request.expected.append(nil)
      if !PostgresConnection.sendExecute(handle, step.statement, step.parameters) { return false }
    }
    return true
  }

  private static func sendExecute(
    _ handle: OpaquePointer, _ statement: PostgresStatement, _ parameters: PostgresParameters
  ) -> Bool {
    let values = parameters.values
    let total = values.reduce(0) { $0 + ($1?.count ?? 0) }
    // libpq copies everything; one block for all values keeps their addresses stable until then.
    return withUnsafeTemporaryAllocation(byteCount: total + 1, alignment: 8) { block in
      var pointers: [UnsafePointer<CChar>?] = []
      var lengths: [CInt] = []
      var offset = 0
      for value in values {
        guard let value else {
          pointers.append(nil)
          lengths.append(0)
          continue
        }
        value.withUnsafeBytes { UnsafeMutableRawBufferPointer(rebasing: block[offset...]).copyMemory(from: $0) }
        pointers.append(UnsafePointer((block.baseAddress! + offset).assumingMemoryBound(to: CChar.self)))
        lengths.append(CInt(value.count))
        offset += value.count
      }
      let formats = [CInt](repeating: 1, count: values.count)
      return PQsendQueryPrepared(handle, statement.name, CInt(values.count), pointers, lengths, formats, 1) == 1
    }
  }

  /// Writes what libpq has collected.
  public override func flush(on reactor: isolated Reactor) {
    guard let handle else { return }
    switch PQflush(handle) {
    case 0: watchWrites(false, on: reactor)
    case 1: watchWrites(true, on: reactor)
    default: lose(String(cString: PQerrorMessage(handle)), on: reactor)
    }
  }

  private func watchWrites(_ on: Bool, on reactor: isolated Reactor) {
    guard on != isWatchingWrites else { return }
    isWatchingWrites = on
    reactor.modify(fd: fd, events: on ? [.readable, .writable] : .readable)
  }

  /// Reads what the server has sent and hands it to whoever waits.
  public override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    if events.contains(.writable) { flush(on: reactor) }
    while let handle {
      if PQconsumeInput(handle) == 0 { return lose(String(cString: PQerrorMessage(handle)), on: reactor) }
      deliverNotifications(on: reactor)
      if isOpen { takeResults(handle, on: reactor) }
      guard holdsUnreadBytes else { return }
    }
  }

  /// Hands over the notifications that libpq has come across so far; it reads them along with the results.
  private func deliverNotifications(on reactor: isolated Reactor) {
    while let handle, let notification = PQnotifies(handle) {
      notificationReceiver?.notified(
        channel: String(cString: notification.pointee.relname), payload: String(cString: notification.pointee.extra),
        on: reactor)
      PQfreemem(notification)
    }
  }

  private func takeResults(_ handle: OpaquePointer, on reactor: isolated Reactor) {
    var nulls = 0
    // A null ends one statement's results; two in a row mean that nothing more has arrived.
    while isOpen, !inFlight.isEmpty, PQisBusy(handle) == 0, nulls < 2 {
      guard let result = PQgetResult(handle) else {
        nulls += 1
        continue
      }
      nulls = 0
      take(result, handle, on: reactor)
    }
    if isOpen, PQstatus(handle) == CONNECTION_BAD { lose(String(cString: PQerrorMessage(handle)), on: reactor) }
  }

  /// libpq keeps room for the largest answer that there was, for as long as the connection lasts.
  private func swell() {
    guard !isSwollen else { return }
    isSwollen = true
    swelled?()
  }

  private func take(_ result: OpaquePointer, _ handle: OpaquePointer, on reactor: isolated Reactor) {
    guard let request = inFlight.first else { return PQclear(result) }
    switch PQresultStatus(result) {
    case PGRES_PIPELINE_SYNC:
      PQclear(result)
      // The server sends what it has to tell before it says that it is ready again. So whoever has sent a request and
      // has its answer has heard of everything that was committed before.
      deliverNotifications(on: reactor)
      if isOpen { finishFirst(on: reactor) }
    case PGRES_TUPLES_OK, PGRES_COMMAND_OK:
      let isPreparation = !request.expected.isEmpty && request.expected.removeFirst() != nil
      if PQresultMemorySize(result) >= Limits.swollenBytes { swell() }
      if isPreparation { PQclear(result) } else { request.results.append(PostgresResult(result)) }
    case PGRES_PIPELINE_ABORTED:
      PQclear(result)
    default:
      let state = PQresultErrorField(result, CInt(UInt8(ascii: "C"))).map { String(cString: $0) } ?? "08000"
      let message = String(cString: PQresultErrorMessage(result))
      PQclear(result)
      if state == "57014", cancelsUnderWay > 0 {
        cancelsUnderWay -= 1
        request.isHit = !request.isAbandoned
      }
      if request.error == nil { request.error = PostgresError(.server(sqlstate: state), message) }
      // Statements whose preparation failed or was skipped are not known to the server; earlier ones stay prepared.
      for case let statement? in request.expected { prepared.remove(statement) }
      request.expected.removeAll()
    }
  }

  private func finishFirst(on reactor: isolated Reactor) {
    guard let request = inFlight.popFirst() else { return }
    usedAt = reactor.now
    // A cancel came so late that it hit this request instead. Nothing of it was kept, so it is simply sent again.
    if request.isHit, !request.isAbandoned {
      (request.isHit, request.error) = (false, nil)
      request.results.removeAll()
      send(request, on: reactor)
    } else {
      request.waiter.take()?.resume()
      request.ended.take()?(request.outcome)
    }
    guard let next = inFlight.first, next.isAbandoned else { return }
    // Most take no time, once it is their turn.
    next.stopsAt = reactor.now + .seconds(Limits.lateStopSeconds)
    wake(at: next.stopsAt, on: reactor)
  }

  private func wake(at time: MonotonicTime, on reactor: isolated Reactor) {
    guard time < wakesAt else { return }
    wakesAt = time
    reactor.arm(timer, at: time)
  }

  /// Requests may have passed their deadlines: their callers are told, also of those behind another that holds all of
  /// them up. The server is asked to stop if the one that it works on is among them. One that stays silent after that
  /// has gone, whatever TCP believes.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    wakesAt = .never
    guard let first = inFlight.first else { return }
    let now = reactor.now
    if first.givenUpAt <= now { return lose("the server did not answer after a cancel", on: reactor) }
    var next = MonotonicTime.never
    inFlight.forEach { request in
      if request.deadline > now { return next = min(next, request.deadline) }
      guard !request.isAbandoned else { return }
      request.isAbandoned = true
      request.error = PostgresError(.deadline, "no answer in time")
      request.waiter.take()?.resume()
    }
    if first.isAbandoned, first.givenUpAt == .never {
      if first.stopsAt <= now {
        first.givenUpAt = now + .seconds(Limits.silenceSeconds)
        cancel(on: reactor)
      } else {
        next = min(next, first.stopsAt)
      }
    }
    wake(at: min(next, first.givenUpAt), on: reactor)
  }

  private func cancel(on reactor: isolated Reactor) {
    guard let handle, let cancel = PQgetCancel(handle) else { return }
    cancelsUnderWay += 1
    let address = UInt(bitPattern: cancel)
    let pool = canceller
    // PQcancel connects and blocks: it must not run on the reactor.
    Task.immediate(executorPreference: reactor.queue) {
      _ = try? await pool.run(on: reactor) {
        let cancel = OpaquePointer(bitPattern: address)
        var words = [CChar](repeating: 0, count: 256)
        _ = PQcancel(cancel, &words, CInt(words.count))
        PQfreeCancel(cancel)
      }
    }
  }

  private func lose(_ message: String, on reactor: isolated Reactor) {
    guard let handle else { return }
    self.handle = nil
    reactor.cancel(timer)
    if fd >= 0 { reactor.deregister(fd: fd) }
    PQfinish(handle)
    limiter.release()
    while let request = inFlight.popFirst() {
      if request.error == nil { request.error = PostgresError(.connectionLost, message) }
      request.waiter.take()?.resume()
      request.ended.take()?(request.outcome)
    }
    for waiter in lostWaiters { waiter.resume() }
    lostWaiters.removeAll()
  }
}

/// Whoever wants to hear NOTIFY.
public protocol PostgresNotificationReceiver: AnyObject {
  /// Another session has committed a `NOTIFY channel, 'payload'`.
  func notified(channel: String, payload: String, on reactor: isolated Reactor)
}
