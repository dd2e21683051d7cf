import Basics
import Glibc
public import Reactor

/// How the processes of a running system are, for `millrace status`.
public struct SystemStatus: Sendable {
  /// One process.
  public struct Process: Sendable {
    /// Its name in the table.
    public let name: String
    /// Its number.
    public let pid: Int32
    /// One word or two for a person.
    public let health: String
    /// Whether there is nothing to worry about.
    public let isWell: Bool
    /// Where it can be reached.
    public let place: String
  }

  /// The processes, in the order in which they start.
  public let processes: [Process]
  /// The folder of the sockets, PostgreSQL's among them.
  public let run: String

  /// Asks every process of the system that uses `dataFolder`, all at once.
  /// - Throws: `LaunchError`: `missingDependency` if none runs there.
  public static func read(
    dataFolder: String, on reactor: isolated Reactor
  ) async throws(LaunchError) -> SystemStatus {
    guard let launcher = DataFolder.holder(of: dataFolder) else {
      throw LaunchError("no 'millrace up' is using the folder '\(dataFolder)'", .missingDependency)
    }
    let text = TextFile.read("\(dataFolder)/\(ProcessList.fileName)")
    guard let list = text.flatMap(ProcessList.init), list.launcher == launcher else {
      throw LaunchError("'millrace up' (process \(launcher)) is only beginning to use '\(dataFolder)'")
    }
    var waiting = list.entries.count
    var answers = [Answer](repeating: .none, count: waiting)
    let all = Pause()
    for (place, entry) in list.entries.enumerated() {
      Task.immediate(executorPreference: reactor.queue) {
        answers[place] = await entry.readiness.answer(pid: entry.pid, on: reactor)
        waiting -= 1
        if waiting == 0 { all.end() }
      }
    }
    if waiting > 0 { await all.wait(until: .never, on: reactor) }
    let itself = Process(name: "up", pid: launcher, health: "well", isWell: true, place: list.run)
    return SystemStatus(
      processes: [itself]
        + zip(list.entries, answers).map { entry, answer in
          // A child that has fallen is nobody's number, until the list says its new one.
          let lives = entry.pid > 0 && (kill(entry.pid, 0) == 0 || errno == EPERM)
          let health = lives ? answer.words : "has ended"
          return Process(
            name: entry.name, pid: entry.pid, health: health, isWell: lives && answer == .ready, place: entry.place)
        }, run: list.run)
  }

  private typealias Answer = Readiness.Answer
}
