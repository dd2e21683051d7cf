import Basics
import Postgres
public import Reactor
import Telemetry

/// Whoever acts on what a worker hears.
public protocol QueueListener: AnyObject {
  /// Notifications arrive from now on. What was submitted before is found by looking.
  func listening(on reactor: isolated Reactor)
  /// Notifications do not arrive any more, and some may be lost.
  func deafened(on reactor: isolated Reactor)
  /// Somebody has tasks.
  func heard(_ wakeUp: WakeUp, on reactor: isolated Reactor)
}

/// The connection that proves a worker alive and hears what there is to do. It holds the worker's advisory lock, so
/// that a killed process is known within milliseconds and without any clock; it is replaced when it breaks or when a
/// notification that tests it does not arrive.
final class Lifeline: PostgresNotificationReceiver {
  static let lockClass: Int32 = 1_296_649_047
  /// Held by the one worker that looks after partitions.
  private static let leaderLock: Int64 = 1_296_649_048

  private let configuration: PostgresConfiguration
  private let name: String
  private let helpers: PostgresConnection.Helpers
  private let log: Logger
  private weak var listener: (any QueueListener)?
  private var connection: PostgresConnection?
  private var isStopping = false
  /// When it last heard anything, and whether it has been tested since.
  private(set) var hearing = HearingTest()
  private var isListening = false
  /// Whether it looks after partitions, as far as it has asked.
  private(set) var isLeader = false
  /// Why it is not.
  private var failure: PostgresError?
  /// Whether the table may be giving this worker an id, and who waits for the end of that.
  private var isRegistering = false
  private let registered = Pause()
  /// The worker's id, given by the table at its first connection.
  private(set) var id: Int64?

  init(_ configuration: PostgresConfiguration, name: String, helpers: PostgresConnection.Helpers, log: Logger) {
    self.configuration = configuration
    self.name = name
    self.helpers = helpers
    self.log = log
  }

  /// What it waits for, for `/readyz`.
  var missing: [String] { isListening ? [] : [failure.map { QueueError($0).waitsFor } ?? "PostgreSQL"] }

  /// Keeps the connection until `stop`.
  func run(_ listener: any QueueListener, on reactor: isolated Reactor) async {
    self.listener = listener
    var backoff = Backoff(base: .seconds(configuration.baseBackoffSeconds), cap: .seconds(5 as UInt64))
    var random = SeededRandom.fromSystem()
    var triedAtOnce: MonotonicTime?
    while !isStopping {
      do {
        try await connect(attempts: backoff.attempts, on: reactor)
        backoff.reset()
        failure = nil
        if isStopping { break }
        listener.listening(on: reactor)
        await connection?.whenLost(on: reactor)
        isListening = false
        isLeader = false
        listener.deafened(on: reactor)
        if !isStopping { log.warning("lifeline lost, reconnecting") }
        // It may have been ended alone, and then nothing is wrong with the server.
        if triedAtOnce.map({ reactor.now.since($0) > backoff.cap }) ?? true {
          triedAtOnce = reactor.now
          continue
        }
      } catch {
        failure = error
        if isStopping { break }
        log.warning(Lifeline.complaint(error), [("reason", error.message)])
        connection?.close(on: reactor)
        // Tables that do not fit are looked at often: who upgrades waits for it.
        if error.isOfSchema { backoff.reset() }
      }
      if !isStopping { await reactor.sleep(for: backoff.next(using: &random)) }
    }
  }

  private static func complaint(_ error: PostgresError) -> StaticString {
    switch error.code {
    case .unfitSchema(let isNewer):
      isNewer
        ? "the schema is that of a newer program: start that one"
        : "the schema is missing or old: run 'millrace migrate'"
    default: "no lifeline to PostgreSQL yet"
    }
  }

  /// Registers at first, then takes the lock and listens: in this order, so that whoever believes the worker alive is
  /// heard, and everybody looks when that is done.
  private func connect(attempts: Int, on reactor: isolated Reactor) async throws(PostgresError) {
    // Another address first each time: one that is silent would take all of an attempt's time.
    let connection = try await PostgresConnection.connect(
      configuration.turned(forAttempt: attempts), helpers: helpers, on: reactor)
    self.connection = connection
    connection.notificationReceiver = self
    try await SchemaFit.check(connection, known: QueueSchema.migrations.count, on: reactor)
    if id == nil {
      // From here on there may be a row that only this worker can say to be over.
      guard !isStopping else { throw PostgresError(.unavailable, "the worker is leaving") }
      isRegistering = true
      defer {
        isRegistering = false
        registered.end()
      }
      var parameters = PostgresParameters()
      parameters.add(text: name)
      id = try await connection.execute(Lifeline.registerStatement, parameters, on: reactor).int64(0, 0)
    }
    guard let id else { return }
    let statements = [
      PostgresStatement("worker_lock", "select pg_advisory_lock(\(Lifeline.lockClass), \(id % Int64(Int32.max)))"),
      PostgresStatement("worker_listen", "listen millrace_ready"),
      PostgresStatement("worker_listen_own", "listen millrace_worker_\(id)"),
    ]
    for statement in statements { _ = try await connection.execute(statement, on: reactor) }
    hearing.heard(at: reactor.now)
    isListening = true
  }

  /// Registers no more, and waits for the id if the table may be giving one: until `deadline` at the latest.
  func settle(until deadline: MonotonicTime, on reactor: isolated Reactor) async {
    isStopping = true
    if isRegistering { await registered.wait(until: deadline, on: reactor) }
  }

  /// Whether this worker is the one that looks after partitions; it is as long as its lifeline stands.
  func leads(on reactor: isolated Reactor) async throws(QueueError) -> Bool {
    guard isListening, let connection else { return false }
    if isLeader { return true }
    let statement = PostgresStatement("worker_lead", "select pg_try_advisory_lock(\(Lifeline.leaderLock))")
    let isLeader = try await asQueue { () throws(PostgresError) in
      try await connection.execute(statement, on: reactor).bool(0, 0)
    }
    // The connection may have been replaced meanwhile, and the lock gone with it.
    self.isLeader = isLeader && connection === self.connection && connection.isOpen
    return self.isLeader
  }

  /// Called before a beat. Tells whether it has to send a notification to all: a lifeline that has been quiet for
  /// `quiet` may be deaf. Should it have been tested by an earlier beat and still have heard nothing, it is.
  func beginTest(afterQuiet quiet: TimeSpan, on reactor: isolated Reactor) -> Bool {
    guard isListening else { return false }
    let step = hearing.beatDue(afterQuiet: quiet, at: reactor.now)
    if step == .giveUp {
      log.warning("the lifeline did not hear the notification that tests it")
      connection?.close(on: reactor)
    }
    return step == .send
  }

  /// The beat that was to send the notification was answered at `now`,
  func testAnswered(at now: MonotonicTime) { hearing.answered(at: now) }

  /// or has failed.
  func abandonTest() { hearing.failed() }

  /// Somebody has submitted tasks, or has promoted or rescued some, or tests.
  func notified(channel: String, payload: String, on reactor: isolated Reactor) {
    hearing.heard(at: reactor.now)
    if isListening, payload != WakeUp.test { listener?.heard(WakeUp(payload: payload), on: reactor) }
  }

  func stop(on reactor: isolated Reactor) {
    isStopping = true
    connection?.close(on: reactor)
  }

  private static let registerStatement = PostgresStatement(
    "worker_register", "insert into millrace.worker (name) values ($1::text) returning id")
}
