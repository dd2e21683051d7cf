import Basics
import CLinux
import Glibc
import Reactor

/// What a child is, independently of how often it is started.
struct ChildDescription {
  /// Its name in the table and before its log lines.
  let name: String
  let start: ChildStarter.Start
  /// The signal that asks it to stop in good order.
  var stopSignal = SIGTERM
  /// The signal that ends it at once.
  var killSignal = SIGKILL
  let readiness: Readiness
  /// Where it can be reached, for the table.
  let place: String
}

/// One process under the launcher: started, watched, and started again when it falls.
final class Child {
  let description: ChildDescription
  /// Its process, 0 while there is none.
  private(set) var pid: pid_t = 0
  private(set) var hasBeenReady = false
  private(set) var falls = 0
  /// Whether it ended in a way that starting it again does not mend.
  private var isHopeless = false
  /// How it ended last, in words, and whose fault that is; nil if it has not.
  private(set) var lastEnd: (meaning: String, kind: LaunchError.Kind)?
  private var exitWaiter: UnsafeContinuation<CInt, Never>?
  private var stopWaiter: UnsafeContinuation<Void, Never>?
  private var isStopping = false
  private let printer: LogPrinter
  private let executable: String
  /// Called when its process is another one.
  var changed: () -> Void = {}

  init(_ description: ChildDescription, executable: String, printer: LogPrinter) {
    self.description = description
    self.executable = executable
    self.printer = printer
  }

  /// Starts the process and starts it again whenever it ends, until `stop`.
  func keepRunning(on reactor: isolated Reactor) async {
    var backoff = Backoff(base: .milliseconds(Limits.restartBaseMs), cap: .milliseconds(Limits.restartMaxMs))
    var random = SeededRandom.fromSystem()
    while !isStopping {
      let began = reactor.now
      let reason: String
      // Whoever was told to stop and did is wanted again at once: that is how a role is restarted by hand.
      var isOrderly = false
      do {
        let status = try await runOnce(on: reactor)
        reason = Child.meaning(of: status)
        lastEnd = (reason, Child.kind(of: status))
        isOrderly = status == 0 && hasBeenReady
        isHopeless = Limits.hopelessCodes.contains(status >> 8) && !hasBeenReady
      } catch {
        reason = "\(error)"
      }
      if isStopping { return }
      if !isOrderly {
        falls += 1
        printer.tellAll(of: description.name)
      }
      if isHopeless { return printer.notice("\(description.name) \(reason)") }
      if isOrderly || reactor.now.since(began) >= .seconds(Limits.healthySeconds) { backoff.reset() }
      let pause = isOrderly ? .milliseconds(Limits.orderlyRestartMs) : backoff.next(using: &random)
      printer.notice("\(description.name) \(reason); it is started again in \(pause.milliseconds) ms")
      await reactor.sleep(for: pause)
    }
  }

  /// Runs the process to its end.
  /// - Returns: its status as waitpid(2) tells it.
  func runOnce(on reactor: isolated Reactor) async throws(SystemError) -> CInt {
    var pair: [CInt] = [-1, -1]
    try systemCall("socketpair") { socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &pair) }
    defer { if pair[1] >= 0 { close(pair[1]) } }
    _ = fcntl(pair[0], F_SETFL, O_NONBLOCK)
    let output: Stream
    do {
      output = try Stream(adopting: pair[0], on: reactor)
    } catch {
      close(pair[0])
      throw error
    }
    do {
      pid = try ChildStarter.spawn(description.start, executable: executable, output: pair[1])
    } catch {
      output.close(on: reactor)
      throw error
    }
    // The child has its own copy; with ours closed the stream ends when the last process that writes to it does.
    close(pair[1])
    pair[1] = -1
    changed()
    Task.immediate(executorPreference: reactor.queue) {
      await self.printer.printLines(of: output, from: self.description.name, on: reactor)
      output.close(on: reactor)
    }
    return await withUnsafeContinuation { exitWaiter = $0 }
  }

  /// A child of this process has ended: perhaps this one.
  func reap() {
    guard pid != 0 else { return }
    var status: CInt = 0
    guard waitpid(pid, &status, WNOHANG) == pid else { return }
    pid = 0
    exitWaiter.take()?.resume(returning: status)
    stopWaiter.take()?.resume()
  }

  /// Whether starting it again will not help, or has not helped often enough.
  var isLost: Bool { isHopeless || falls >= Limits.startAttemptsMax && !hasBeenReady }

  /// Asks the process whether it is ready.
  func checkReady(on reactor: isolated Reactor) async -> Bool {
    guard pid != 0, await description.readiness.isReady(pid: pid, on: reactor) else { return false }
    hasBeenReady = true
    printer.forget(description.name)
    return true
  }

  /// Asks the process to stop, and lets nobody start it again.
  func askToStop() {
    isStopping = true
    if pid != 0 { kill(pid, description.stopSignal) }
  }

  /// Asks the process to stop and waits until it has; kills it when it takes too long.
  func stop(on reactor: isolated Reactor) async {
    if !isStopping { askToStop() }
    let victim = pid
    guard victim != 0 else { return }
    Task.immediate(executorPreference: reactor.queue) {
      await reactor.sleep(for: .seconds(Limits.stopSeconds))
      guard self.pid == victim else { return }
      self.printer.notice("\(self.description.name) does not stop; it is killed")
      kill(victim, SIGKILL)
    }
    await withUnsafeContinuation { stopWaiter = $0 }
  }

  /// Ends the process at once.
  func killNow() {
    isStopping = true
    if pid != 0 { kill(pid, description.killSignal) }
  }

  /// Whose fault it is that a process of ours ended so.
  static func kind(of status: CInt) -> LaunchError.Kind {
    guard status & 0x7F == 0 else { return .failure }
    return switch status >> 8 & 0xFF {
    case Limits.configurationCode: .configuration
    case Limits.unavailableCode: .missingDependency
    default: .failure
    }
  }

  /// What a status of waitpid(2) means (its macros are not visible to Swift).
  static func meaning(of status: CInt) -> String {
    let signal = status & 0x7F
    if signal == 0 { return "ended with code \(status >> 8 & 0xFF)" }
    return "was killed by SIG\(clinux_signal_name(signal).map { String(cString: $0) } ?? "(signal)")"
  }
}
