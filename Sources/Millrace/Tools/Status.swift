import Glibc
import Launcher
import Postgres
import Reactor
import TaskQueue
import Telemetry

/// `millrace status`: who runs of a system that `millrace up` has started, how they are, and what is in its queue.
enum Status {
  private typealias Found = (system: SystemStatus, queue: QueueStats?)

  /// What is to be told.
  struct Report {
    /// A line for each process and one for the queue.
    let text: String
    /// What the command ends with if something is not well.
    let complaint: CommandError?
  }

  /// Asks all of the system that runs on the data folder.
  /// - Throws: `CommandError`: 75 if none runs there.
  static func run(_ configuration: Configuration) throws(CommandError) -> Report {
    let folder = configuration.text(.dataFolder) ?? ""
    let outcome = try OneTask.run { (pool, reactor) async throws(LaunchError) -> Found in
      let system = try await SystemStatus.read(dataFolder: folder, on: reactor)
      return (system, await queue(of: system, pool: pool, on: reactor))
    }
    let found: Found
    do {
      found = try outcome.get()
    } catch {
      let code = error.kind == .missingDependency ? ExitCode.unavailable : ExitCode.failure
      throw CommandError(message: error.description, exitCode: code)
    }
    var unwell = found.system.processes.filter { !$0.isWell }.map(\.name)
    if found.queue == nil { unwell.append("the queue") }
    let complaint = CommandError(
      message: "not well: \(unwell.joined(separator: ", "))", exitCode: ExitCode.failure)
    return Report(text: table(found.system) + line(found.queue), complaint: unwell.isEmpty ? nil : complaint)
  }

  /// What is in the queue, nil if PostgreSQL does not say.
  private static func queue(
    of system: SystemStatus, pool: ComputePool, on reactor: isolated Reactor
  ) async -> QueueStats? {
    var queue = QueueConfiguration()
    queue.postgres.hosts = [system.run]
    (queue.postgres.user, queue.postgres.applicationName) = ("millrace", "millrace status")
    queue.postgres.connectionRetries = 0
    let log = Logger(sink: LogSink(fd: STDERR_FILENO), subsystem: "status", level: .error)
    return try? await QueueStats.read(queue, pool: pool, log: log, on: reactor)
  }

  private static func table(_ system: SystemStatus) -> String {
    var text = ""
    for process in system.processes {
      let pid = String(process.pid)
      text += "  " + Help.pad(process.name, 10) + String(repeating: " ", count: max(8 - pid.count, 1)) + pid
      text += "   " + Help.pad(process.health, 12) + process.place + "\n"
    }
    return text
  }

  private static func line(_ queue: QueueStats?) -> String {
    guard let queue else { return "\n  the queue does not answer\n" }
    let running = queue.workers.reduce(0) { $0 + $1.taskCount }
    let each = queue.workers.map { "\($0.name) \($0.taskCount)" }.joined(separator: ", ")
    return "\n  \(queue.ready) queued, \(queue.scheduled) to be tried again later, \(running) running"
      + (each.isEmpty ? "\n" : " (\(each))\n")
  }
}
