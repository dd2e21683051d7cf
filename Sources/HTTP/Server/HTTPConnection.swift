import Basics
import HTTPSyntax
import Reactor

/// One client connection of an `HTTPServer`: reads a request, has it answered, and goes on until either side has
/// enough. All answers of one turn leave in one write, because the stream writes before the loop sleeps.
final class HTTPConnection: SlowHolder, HTTPPartTaker {
  private let server: HTTPServer
  private let stream: Stream
  private let request: HTTPRequest
  /// What it holds of the server's budget: the body while it comes, or the answer while it leaves.
  private let lease: ByteLease
  private var wasShed = false
  /// Whether no request is in progress, and since when.
  private var isIdle = true
  private(set) var idleSince = MonotonicTime(nanoseconds: 0)
  private var hadRequest = false
  private var answersThisTurn = 0

  init(server: HTTPServer, stream: Stream, peer: SocketAddress) {
    self.server = server
    self.stream = stream
    request = HTTPRequest(peer: peer)
    request.stream = stream
    lease = ByteLease(server.budget)
  }

  /// What reading a part of a request ended with.
  private enum Outcome {
    case whole
    case refused(Problem)
    /// The client is gone or was silent too long; there is nobody to answer.
    case gone
  }

  /// Serves the connection to its end.
  func serve(on reactor: isolated Reactor) async {
    var goesOn = true
    while goesOn {
      switch await readHead(on: reactor) {
      case .gone: goesOn = false
      case .refused(let problem):
        goesOn = await answer(request.answer(problem), closing: true, on: reactor)
      case .whole: goesOn = await serveRequest(on: reactor)
      }
    }
    await settleOutput(on: reactor)
    stream.close(on: reactor)
    lease.shrink(to: 0, on: reactor)
    server.ended(self, on: reactor)
  }

  /// Ends the connection if no request is in progress and none has reached the kernel.
  func closeIfIdle(on reactor: isolated Reactor) {
    if isIdle, !stream.wakeReader(on: reactor) { stream.close(on: reactor) }
  }

  /// Whether its place may be given to others: between two requests at any time, but who has just come is about to ask
  /// for something.
  func maySpare(at now: MonotonicTime) -> Bool {
    isIdle && (hadRequest || now.since(idleSince) >= HTTPLimits.firstRequestAwaited)
  }

  /// Ends the connection at once.
  func cut(on reactor: isolated Reactor) {
    stream.close(on: reactor)
  }

  /// Memory is short, and its client is the slowest.
  func shed(on reactor: isolated Reactor) {
    wasShed = true
    guard request.isBodyWanted else { return stream.close(on: reactor) }
    // While a body comes, there is still something to be said.
    stream.giveUpReading()
    SecretBytes.wipe(&request.body)
    lease.shrink(to: 0, on: reactor)
  }

  /// Reads the body of the request whose head was read, and answers it. Whether the connection goes on.
  private func serveRequest(on reactor: isolated Reactor) async -> Bool {
    switch server.handler.admit(request, on: reactor) {
    case .refuse(let response):
      // A small body is read all the same: a connection costs more than 64 KiB do. One that waits for an invitation
      // must not get it.
      let reader = reader(bytesMax: HTTPLimits.unwantedBodyBytesMax, on: reactor)
      if !reader.awaitsInvitation, case .whole = await collect(reader, keeping: false, on: reactor) {
        return await answer(response, closing: false, on: reactor)
      }
      return await answer(response, closing: !reader.isComplete, on: reactor)
    case .body(let bytesMax):
      switch await collect(reader(bytesMax: bytesMax, on: reactor), on: reactor) {
      case .gone: return false
      case .refused(let problem): return await answer(request.answer(problem), closing: true, on: reactor)
      case .whole: return await respond(closing: false, on: reactor)
      }
    case .stream(let bytesMax):
      let reader = reader(bytesMax: bytesMax, on: reactor)
      request.bodyReader = reader
      return await respond(closing: true, on: reactor)
    }
  }

  /// Has the request answered. Whether the connection goes on.
  /// - Parameter closing: it ends unless the body's reader has come to the end.
  private func respond(closing: Bool, on reactor: isolated Reactor) async -> Bool {
    let response = await server.handler.respond(to: request, on: reactor)
    let reader = request.bodyReader
    stream.whenPeerEnds = nil
    // It may be large or secret, and an answer may take its time to leave.
    SecretBytes.wipe(&request.body)
    request.body = []
    request.bodyReader = nil
    lease.shrink(to: 0, on: reactor)
    if reader?.isClientGone == true { return false }
    return await answer(response, closing: closing && reader?.isComplete != true, on: reactor)
  }

  // MARK: Reading

  private func readHead(on reactor: isolated Reactor) async -> Outcome {
    let head = request.head
    head.reset()
    request.route = nil
    request.id.removeAll(keepingCapacity: true)
    wasShed = false
    if stream.input.isEmpty {
      // Who does not take its answers is not listened to, and is not idle.
      stream.flush(on: reactor)
      if stream.unsentBytes > 0, await !settleOutput(on: reactor) { return .gone }
      isIdle = true
      idleSince = reactor.now
      server.becameIdle(on: reactor)
      if server.isDraining, hadRequest, !stream.hasNews(on: reactor) || stream.input.isEmpty { return .gone }
      guard await waitForRequest(on: reactor) else { return .gone }
      isIdle = false
    }
    request.receivedAt = reactor.now
    let deadline = reactor.now + server.times.head
    var partial = PartialHead()
    while true {
      switch stream.input.withReadable({ head.parse($0.bindMemory(to: UInt8.self).span) }) {
      case .complete(let bytes):
        request.headBytes = stream.input.bytes(0..<bytes)
        stream.input.consume(bytes)
        nameRequest()
        hadRequest = true
        return .whole
      case .malformed(let error):
        head.reset()
        nameRequest()
        return .refused(Problem(error.status, "The request was refused: \(error.explanation)."))
      case .incomplete:
        switch await partial.readMore(from: stream, until: deadline, on: reactor) {
        case .bytes: continue
        case .deadline:
          head.reset()
          nameRequest()
          return .refused(Problem(408, "The head of the request took too long."))
        case .endOfStream, .failed: return .gone
        }
      }
    }
  }

  /// Waits for the first bytes of a request; false if none came. A connection that stays quiet gives its buffers back,
  /// but not at once: a busy one would only ask for them again.
  private func waitForRequest(on reactor: isolated Reactor) async -> Bool {
    if !stream.input.isEmpty { return true }
    // Whoever connects has something to ask: only between requests is silence usual.
    let deadline = reactor.now + (hadRequest ? server.times.idle : server.times.head)
    var outcome = await stream.read(until: min(deadline, reactor.now + HTTPLimits.buffersKept), on: reactor)
    if outcome == .deadline, reactor.now < deadline {
      stream.releaseMemory()
      request.forget()
      outcome = await stream.read(until: deadline, on: reactor)
    }
    answersThisTurn = 0
    // A last look: to close while a request lies unread would be a reset, and whoever sent it could not know its fate.
    if outcome == .deadline, stream.hasNews(on: reactor) { return !stream.input.isEmpty }
    return outcome == .bytes
  }

  /// Takes the client's request id over, or makes one.
  private func nameRequest() {
    if let given = request.value(of: .xRequestID), RequestID.isAcceptable(given.span) {
      request.id = Array(given)
    } else {
      RequestID.make(&server.random) { request.id.append($0) }
    }
  }

  private func reader(bytesMax: Int, on reactor: isolated Reactor) -> HTTPBodyReader {
    HTTPBodyReader(
      stream, framing: request.head.framing, expectsContinue: request.head.expectsContinue, bytesMax: bytesMax,
      stepTime: server.times.body, startedAt: reactor.now)
  }

  /// Reads the whole body into the request, unless nobody wants it.
  private func collect(
    _ reader: HTTPBodyReader, keeping isKept: Bool = true, on reactor: isolated Reactor
  ) async -> Outcome {
    request.body = []
    request.isBodyWanted = true
    lease.waits(self, on: reactor)
    defer {
      lease.waitsNoMore()
      request.isBodyWanted = false
    }
    do throws(Problem) {
      while let piece = try await reader.next(on: reactor) {
        lease.moved(piece.count, on: reactor)
        if isKept { try await keep(piece, of: reader, on: reactor) }
      }
      return .whole
    } catch {
      SecretBytes.wipe(&request.body)
      lease.shrink(to: 0, on: reactor)
      if reader.isClientGone { return .gone }
      return .refused(wasShed ? HTTPConnection.memoryIsShort : error)
    }
  }

  private static let memoryIsShort = Problem(
    503, "Memory is short at the moment, and this request was among the slowest. Try again.", retryAfterSeconds: 1)

  private func keep(
    _ piece: [UInt8], of reader: HTTPBodyReader, on reactor: isolated Reactor
  ) async throws(Problem) {
    // What grows without having been announced may own twice as much.
    let cost = reader.announcedBytes > 0 ? piece.count : 2 * piece.count
    guard !wasShed, await hasMemory(for: cost, on: reactor), !wasShed else { throw HTTPConnection.memoryIsShort }
    if request.body.isEmpty {
      request.body = piece
      if piece.count < reader.announcedBytes { request.body.reserveCapacity(reader.announcedBytes) }
    } else {
      request.body += piece
    }
  }

  // MARK: Answering

  /// Writes `response`. Whether the connection goes on; if not, it has lingered.
  private func answer(_ given: HTTPResponse, closing: Bool, on reactor: isolated Reactor) async -> Bool {
    var response = given
    if case .bytes(let bytes) = response.body, bytes.count > HTTPLimits.answerPieceBytes,
      await !hasMemory(for: bytes.count + 2 * HTTPLimits.answerPieceBytes, on: reactor)
    {
      response = request.answer(HTTPConnection.memoryIsShort)
    }
    let isOld = request.head.minorVersion == 0
    var keeps = !closing && request.head.keepsAlive && !server.isDraining
    let isSilent = request.method == .head || response.status == 204 || response.status == 304
    if case .stream = response.body, isOld { keeps = false }
    if response.status >= 400 { server.logProblem(request, response) }
    writeHead(response, keeps: keeps, isOld: isOld, on: reactor)
    switch response.body {
    case .bytes(let bytes):
      if !isSilent, await !write(bytes, on: reactor) { return false }
    case .stream(let source):
      let writer = HTTPBodyWriter(self, stream: stream, isChunked: !isOld, isSilent: isSilent)
      if !isSilent { await source.write(to: writer, on: reactor) }
      // Cut off rather than ended: an end would make the part look whole.
      guard writer.finish(on: reactor) else {
        stream.close(on: reactor)
        return false
      }
    }
    server.metrics.count(status: response.status, after: MonotonicTime.current().since(request.receivedAt))
    answersThisTurn += 1
    if answersThisTurn >= HTTPLimits.pipelinedPerTurn {
      answersThisTurn = 0
      await reactor.sleep(for: TimeSpan(nanoseconds: 0))
    }
    if stream.unsentBytes > HTTPLimits.answerPieceBytes, await !settleOutput(on: reactor) { return false }
    lease.shrink(to: 0, on: reactor)
    if !keeps { await linger(on: reactor) }
    return keeps
  }

  /// Writes a part of a body that is made while the client takes it, of about `count` bytes; false if it does not take
  /// it. A large one is made when there is memory for it and counted meanwhile, as an answer of that size is.
  func write(
    part count: Int, isChunked: Bool, on reactor: isolated Reactor, _ make: () -> [UInt8]
  ) async -> Bool {
    let (isLarge, held) = (count > HTTPLimits.answerPieceBytes, lease.bytes)
    if isLarge, await !waitForMemory(for: count + 2 * HTTPLimits.answerPieceBytes, on: reactor) { return false }
    defer { lease.shrink(to: held, on: reactor) }
    let bytes = make()
    if isChunked { stream.write(Array("\(String(bytes.count, radix: 16))\r\n".utf8), on: reactor) }
    guard await write(bytes, on: reactor) else { return false }
    if isChunked { stream.write([0x0D, 0x0A], on: reactor) }
    return true
  }

  /// Takes `amount` bytes when it is its turn. What many wait for comes to all of them at once: only those make room
  /// who are known to be slow by now.
  private func waitForMemory(for amount: Int, on reactor: isolated Reactor) async -> Bool {
    if server.budget.line.isEmpty, lease.growIfFree(by: amount, on: reactor) { return true }
    let turn = Pause()
    server.budget.enterLine(turn)
    defer { server.budget.leaveLine(turn) }
    let deadline = reactor.now + server.times.writeStall
    while !stream.isClosed, reactor.now < deadline {
      if server.budget.line.first !== turn {
        await turn.wait(until: deadline, on: reactor)
      } else if await hasMemory(for: amount, slowerThan: HTTPLimits.slowBytesPerSecond, on: reactor) {
        return true
      } else {
        await reactor.sleep(for: HTTPLimits.memoryLook)
      }
    }
    return false
  }

  /// Takes `amount` bytes for an answer; those who are parted with for it need a turn to give back theirs.
  private func hasMemory(
    for amount: Int, slowerThan pace: Double = .infinity, on reactor: isolated Reactor
  ) async -> Bool {
    if lease.grow(by: amount, slowerThan: pace, on: reactor) { return true }
    await reactor.sleep(for: TimeSpan(nanoseconds: 0))
    return lease.grow(by: amount, slowerThan: pace, on: reactor)
  }

  /// Writes a body piece by piece, as the client takes it; false if it does not.
  private func write(_ bytes: [UInt8], on reactor: isolated Reactor) async -> Bool {
    var rest = 0..<bytes.count
    lease.waits(self, on: reactor)
    defer { lease.waitsNoMore() }
    while !rest.isEmpty {
      let piece = rest.prefix(HTTPLimits.answerPieceBytes)
      bytes.withUnsafeBytes { stream.write(UnsafeRawBufferPointer(rebasing: $0[piece]), on: reactor) }
      guard await stream.waitForRoom(stall: server.times.writeStall, on: reactor) else {
        stream.close(on: reactor)
        return false
      }
      lease.moved(piece.count, on: reactor)
      rest = rest.dropFirst(piece.count)
    }
    return true
  }

  /// Waits until the client has taken its answers; false if it does not. They are counted meanwhile.
  @discardableResult
  private func settleOutput(on reactor: isolated Reactor) async -> Bool {
    let unsent = stream.unsentBytes
    guard unsent > 0, !stream.isClosed else { return !stream.isClosed }
    var isTaken = await hasMemory(for: max(0, unsent - lease.bytes), on: reactor)
    if isTaken {
      lease.waits(self, on: reactor)
      isTaken = await stream.drain(stall: server.times.writeStall, on: reactor)
      lease.waitsNoMore()
    }
    lease.shrink(to: 0, on: reactor)
    // It was waited for long enough.
    if !isTaken { stream.close(on: reactor) }
    return isTaken
  }

  private func writeHead(_ response: HTTPResponse, keeps: Bool, isOld: Bool, on reactor: isolated Reactor) {
    server.date.update(.current())
    server.scratch.removeAll(keepingCapacity: true)
    response.appendHead(
      to: &server.scratch, date: server.date.line, requestID: request.id, keepsAlive: keeps, minorVersion: isOld ? 0 : 1
    )
    stream.write(server.scratch, on: reactor)
  }

  /// Reads and drops what the client still sends, for a while: closing with unread bytes would reset the connection and
  /// could destroy the answer before the client has read it (RFC 9112 §9.6).
  private func linger(on reactor: isolated Reactor) async {
    stream.shutdownWriting(on: reactor)
    let end = reactor.now + server.times.linger
    stream.input.removeAll()
    while reactor.now < end {
      let deadline = min(end, reactor.now + server.times.lingerSilence)
      guard await stream.read(until: deadline, on: reactor) == .bytes else { return }
      stream.input.removeAll()
    }
  }
}
