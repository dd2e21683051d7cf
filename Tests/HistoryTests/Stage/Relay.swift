import Basics
import Glibc
import Reactor

/// Stands between a process and PostgreSQL and loses what it is told to lose: messages of the process, answers of the
/// server, or everything without a word, as a network does whose other side has vanished.
final class Relay: EventHandler {
  /// The folder that is `DB_HOST` for whoever is to go through it.
  let folder: String
  private let server: String
  private let listener: CInt
  private var sessions: [RelaySession] = []
  /// Statements whose execution is kept back, by the start of their names.
  private(set) var heldStatement: String?
  /// The same whose answers get lost, with the connection, and how many of them.
  private(set) var unansweredStatement: String?
  private var answersToLose = 0
  private var whenLost: () -> Void = {}
  /// How many answers were lost.
  private(set) var answersLost = 0
  private(set) var isSilent = false
  /// Sessions that have begun.
  private(set) var sessionsBegun = 0

  /// Listens in `folder` as PostgreSQL would, and connects to the socket `server`.
  init(folder: String, server: String, on reactor: isolated Reactor) throws {
    (self.folder, self.server) = (folder, server)
    let fd = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    listener = fd
    let path = folder + "/.s.PGSQL.5432"
    guard Relay.address(path, { bind(fd, $0, $1) }) == 0, listen(fd, 64) == 0 else {
      throw StageError("cannot listen on \(path)")
    }
    super.init()
    try reactor.register(self, fd: listener, events: .readable)
  }

  static func address(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
    return withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
    }
  }

  func close(on reactor: isolated Reactor) {
    reactor.deregister(fd: listener)
    Glibc.close(listener)
    for session in sessions { session.end(on: reactor) }
    sessions.removeAll()
  }

  /// Sessions in which something is kept back.
  var heldCount: Int { sessions.filter(\.isHeld).count }
  /// Sessions that hear notifications and are not silent.
  var listenerCount: Int { sessions.filter { $0.listens && !$0.isSilent }.count }

  /// Keeps back, from now on, what comes in a session behind a statement whose name begins with `name`, with it.
  func hold(_ name: String) { heldStatement = name }

  /// Sends on what was kept back, and keeps back nothing more.
  func letGo(on reactor: isolated Reactor) {
    heldStatement = nil
    for session in sessions where session.isHeld { session.letGo(on: reactor) }
  }

  /// Of the next `count` statements whose names begin with `name` and that bring rows the server does all that they
  /// say, and then their sessions break before its answer has come through; `then` is called at each.
  func loseAnswers(to name: String, count: Int, then: @escaping () -> Void = {}) {
    (unansweredStatement, answersToLose, whenLost) = (name, count, then)
  }

  /// Nothing comes through any more, in either direction, and nobody is told.
  func fallSilent() {
    isSilent = true
    for session in sessions { session.isSilent = true }
  }

  /// The same for the sessions that hear notifications; others may begin.
  func silenceListeners() {
    for session in sessions where session.listens { session.isSilent = true }
  }

  /// New sessions come through again. Those that were silent stay so; PostgreSQL learns that theirs are gone.
  func heal(on reactor: isolated Reactor) {
    isSilent = false
    for session in sessions where session.isSilent { session.endServer(on: reactor) }
  }

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    while true {
      let client = accept(listener, nil, nil)
      guard client >= 0 else { return }
      let upstream = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
      guard Relay.address(server, { connect(upstream, $0, $1) }) == 0 else {
        Glibc.close(client)
        Glibc.close(upstream)
        continue
      }
      for fd in [client, upstream] { _ = fcntl(fd, F_SETFL, O_NONBLOCK) }
      sessionsBegun += 1
      let session = RelaySession(self, client: client, server: upstream, isSilent: isSilent, on: reactor)
      sessions.append(session)
    }
  }

  fileprivate func takesAnswer(_ statement: String) -> Bool {
    answersToLose > 0 && unansweredStatement.map(statement.hasPrefix) ?? false
  }

  /// Whether an answer with rows, which was to be lost, is still among those that are lost.
  fileprivate func losesAnswer() -> Bool {
    guard answersToLose > 0 else { return false }
    answersToLose -= 1
    return true
  }

  fileprivate func answerLost() {
    answersLost += 1
    whenLost()
  }

  fileprivate func ended(_ session: RelaySession) { sessions.removeAll { $0 === session } }
}

/// One session through a relay.
private final class RelaySession {
  private unowned let relay: Relay
  private var client: RelayEnd?
  private var server: RelayEnd?
  private var asked = WireFrames(ofClient: true)
  private var answered = WireFrames(ofClient: false)
  private var held: [UInt8] = []
  private(set) var isHeld = false
  private(set) var listens = false
  var isSilent: Bool
  /// How many statements the server was asked to execute, and has begun to answer.
  private var bound = 0
  private var boundAnswered = 0
  /// How many it was asked when it next says that it is ready: after a failure it passes over the others until then.
  private var boundWhenReady: [Int] = []
  /// Which of them are those whose answers may get lost, and which is the one.
  private var candidates: Set<Int> = []
  private var lost: Int?

  init(_ relay: Relay, client: CInt, server: CInt, isSilent: Bool, on reactor: isolated Reactor) {
    self.relay = relay
    self.isSilent = isSilent
    self.client = RelayEnd(client, of: self, isClient: true, on: reactor)
    self.server = RelayEnd(server, of: self, isClient: false, on: reactor)
  }

  /// What has come; nothing at the end.
  func received(_ bytes: [UInt8], fromClient: Bool, on reactor: isolated Reactor) {
    switch (fromClient, bytes.isEmpty) {
    case (true, false): asked(bytes, on: reactor)
    case (true, true): clientEnded(on: reactor)
    case (false, false): answered(bytes, on: reactor)
    case (false, true): serverEnded(on: reactor)
    }
  }

  private func asked(_ bytes: [UInt8], on reactor: isolated Reactor) {
    if isSilent { return }
    asked.append(bytes)
    while let frame = asked.next() {
      if frame.listens { listens = true }
      if let statement = frame.boundStatement {
        if let name = relay.heldStatement, statement.hasPrefix(name) { isHeld = true }
        bound += 1
        if relay.takesAnswer(statement) { candidates.insert(bound) }
      }
      if frame.isAnsweredByReady { boundWhenReady.append(bound) }
      if isHeld { held += frame.bytes } else { server?.send(frame.bytes, on: reactor) }
    }
  }

  private func answered(_ bytes: [UInt8], on reactor: isolated Reactor) {
    if isSilent { return }
    answered.append(bytes)
    while let frame = answered.next() {
      if frame.isBindComplete { boundAnswered += 1 }
      if frame.isRow, lost == nil, candidates.remove(boundAnswered) != nil, relay.losesAnswer() { lost = boundAnswered }
      // What came before has gone through; of this answer, which is over with its transaction, no row does.
      if lost == nil { client?.send(frame.bytes, on: reactor) }
      guard frame.isReady else { continue }
      if !boundWhenReady.isEmpty { boundAnswered = boundWhenReady.removeFirst() }
      if lost != nil {
        // Who is to die of it is dead before it can see that the connection has ended.
        relay.answerLost()
        end(on: reactor)
        return relay.ended(self)
      }
    }
  }

  func letGo(on reactor: isolated Reactor) {
    isHeld = false
    server?.send(held, on: reactor)
    held = []
  }

  /// A network that has vanished tells nobody.
  private func clientEnded(on reactor: isolated Reactor) {
    client?.close(on: reactor)
    client = nil
    if isSilent, server != nil { return }
    endServer(on: reactor)
    relay.ended(self)
  }

  private func serverEnded(on reactor: isolated Reactor) {
    endServer(on: reactor)
    if isSilent, client != nil { return }
    client?.close(on: reactor)
    client = nil
    relay.ended(self)
  }

  func endServer(on reactor: isolated Reactor) {
    server?.close(on: reactor)
    server = nil
  }

  func end(on reactor: isolated Reactor) {
    client?.close(on: reactor)
    client = nil
    endServer(on: reactor)
  }
}

/// A socket of a relay. Level-triggered.
private final class RelayEnd: EventHandler {
  private let fd: CInt
  private var isOpen = true
  private var waiting: [UInt8] = []
  private weak var session: RelaySession?
  private let isClient: Bool

  init(_ fd: CInt, of session: RelaySession, isClient: Bool, on reactor: isolated Reactor) {
    self.fd = fd
    self.session = session
    self.isClient = isClient
    super.init()
    try! reactor.register(self, fd: fd, events: .readable)
  }

  func send(_ bytes: [UInt8], on reactor: isolated Reactor) {
    let wasIdle = waiting.isEmpty
    waiting += bytes
    if wasIdle { flushNow(on: reactor) }
  }

  private func flushNow(on reactor: isolated Reactor) {
    guard isOpen, !waiting.isEmpty else { return }
    let count = Glibc.send(fd, waiting, waiting.count, CInt(MSG_NOSIGNAL))
    if count > 0 { waiting.removeFirst(count) }
    if count < 0, errno != EAGAIN { waiting = [] }
    reactor.modify(fd: fd, events: waiting.isEmpty ? .readable : [.readable, .writable])
  }

  override func ready(_ events: ReadyEvents, on reactor: isolated Reactor) {
    if events.contains(.writable) { flushNow(on: reactor) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = read(fd, &bytes, bytes.count)
    if count < 0, errno == EAGAIN || errno == EINTR { return }
    session?.received(Array(bytes.prefix(max(0, count))), fromClient: isClient, on: reactor)
  }

  func close(on reactor: isolated Reactor) {
    guard isOpen else { return }
    isOpen = false
    reactor.deregister(fd: fd)
    Glibc.close(fd)
  }
}
