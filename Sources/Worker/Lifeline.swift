import Basics
import Hashing
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// The connection that proves this worker alive and hears what there is to do. It holds the advisory lock, listens, and
/// is replaced when it breaks or when a notification to itself does not come back.
final class Lifeline: PostgresNotificationReceiver {
  private let configuration: WorkerConfiguration
  private let helpers: PostgresConnection.Helpers
  private let log: Logger
  private let gates: [SlotGate]
  private var connection: PostgresConnection?
  private var isStopping = false
  private var selfTestSent = false
  /// The worker's place in the tables, once it has one.
  private(set) var presence: WorkerPresence?
  private var isListening = false
  private var lacksMigration = false
  /// What it waits for, for `/readyz`.
  var missing: [String] { isListening ? [] : [lacksMigration ? "the schema" : "PostgreSQL"] }

  init(
    _ configuration: WorkerConfiguration, helpers: PostgresConnection.Helpers, gates: [SlotGate], log: Logger
  ) {
    self.configuration = configuration
    self.helpers = helpers
    self.gates = gates
    self.log = log
  }

  /// Keeps the connection until `stop`; `started` is called once, when the worker is registered.
  func run(started: (WorkerPresence) -> Void, on reactor: isolated Reactor) async {
    var backoff = Backoff(base: .seconds(configuration.postgres.baseBackoffSeconds), cap: .seconds(5 as UInt64))
    var random = SeededRandom.fromSystem()
    while !isStopping {
      do {
        try await connect(on: reactor)
        backoff.reset()
        if let presence, !isStarted {
          isStarted = true
          started(presence)
        }
        // What was submitted while nobody listened is found by looking, now that somebody does. Whoever submitted may
        // also have taken the idle rows, between the lock and LISTEN.
        for gate in gates { gate.forgetAnnouncement() }
        wakeEverybody()
        await connection?.whenLost(on: reactor)
        isListening = false
        for gate in gates { gate.forgetAnnouncement() }
        if !isStopping { log.warning("lifeline lost, reconnecting") }
      } catch {
        lacksMigration = error.lacksMigration
        let message: StaticString =
          lacksMigration
          ? "the schema is missing or old: run 'millrace migrate'" : "no lifeline to PostgreSQL yet"
        log.warning(message, [("reason", error.message)])
        connection?.close(on: reactor)
      }
      if !isStopping { await reactor.sleep(for: backoff.next(using: &random)) }
    }
  }

  private var isStarted = false

  private func connect(on reactor: isolated Reactor) async throws(PostgresError) {
    let connection = try await PostgresConnection.connect(configuration.postgres, helpers: helpers, on: reactor)
    self.connection = connection
    connection.notificationReceiver = self
    if let presence {
      try await presence.resume(on: connection, on: reactor)
    } else {
      presence = try await WorkerPresence.register(name: configuration.name, connection: connection, on: reactor)
    }
    selfTestSent = false
    isListening = true
  }

  /// Called before a heartbeat that sends a notification to this worker: the previous one must have come back.
  func beginSelfTest(on reactor: isolated Reactor) {
    guard isListening else { return }
    if selfTestSent {
      log.warning("the lifeline did not hear a notification to itself")
      connection?.close(on: reactor)
    }
    selfTestSent = true
  }

  /// The heartbeat that was to send the notification has failed.
  func abandonSelfTest() { selfTestSent = false }

  /// Somebody has submitted tasks, or has promoted or rescued some, or this is the self-test.
  func notified(channel: String, payload: String, on reactor: isolated Reactor) {
    if payload == WakeUp.selfTest {
      selfTestSent = false
      return
    }
    let wakeUp = WakeUp(payload: payload)
    if wakeUp.tasks.isEmpty { return wakeEverybody() }
    for gate in gates {
      guard let count = wakeUp.tasks[gate.group.rawValue] else { continue }
      gate.forgetAnnouncement()
      gate.notified(count)
    }
  }

  func stop(on reactor: isolated Reactor) {
    isStopping = true
    connection?.close(on: reactor)
  }

  private func wakeEverybody() {
    for gate in gates { gate.notified(max(1, gate.sleeperCount)) }
  }
}
