public import Basics
import CLinux
import Glibc
public import Reactor

/// A role as its process sees it: something that was started, and can be stopped in good order.
public protocol Role: AnyObject {
  /// Finishes what is under way, gives back the rest, and closes everything. Called once; the process ends when it
  /// returns.
  func stop(on reactor: isolated Reactor) async
  /// Somebody is impatient: what `stop` still waits for is to be given up at once.
  func hurry(on reactor: isolated Reactor)
  /// A signal that the role had asked for beside those that stop it.
  func signalled(_ signal: CInt, on reactor: isolated Reactor)
  /// Whether its other threads have done something within `span`. That the one which runs it does is shown by the
  /// question.
  func turns(within span: TimeSpan, on reactor: isolated Reactor) -> Bool
}

extension Role {
  /// The process ends with what is in it.
  public func hurry(on reactor: isolated Reactor) { reactor.stop() }
  /// None was asked for.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {}
  /// It has no others.
  public func turns(within span: TimeSpan, on reactor: isolated Reactor) -> Bool { true }
}

/// The process of one role: runs it on the calling thread until a signal stops it. The first SIGTERM, SIGINT or SIGHUP
/// stops it in good order, another one at once. A service manager hears when it is ready and when it stops, and, where
/// it asks for that, again and again that all its loops turn: one that does not is killed by it and started anew.
public final class RoleProcess: EventHandler, SignalReceiver {
  private let role: any Role
  private let own: [CInt]
  private var watcher: SignalWatcher?
  private var stopBegan: MonotonicTime?
  private let manager = ServiceManager()
  private lazy var watchdog = ReactorTimer(self)

  /// Starts a role with `start` on the calling thread and returns when it has ended. Signals must be blocked already.
  /// - Parameters:
  ///   - own: signals that the role gets itself, also in the place of one that would stop it.
  ///   - holdsSecrets: whether nobody may look into its memory, because passwords go through it.
  /// - Throws: what `start` throws, and `SystemError` if the process is out of descriptors.
  public static func run(
    own: [CInt] = [], holdsSecrets: Bool = false, _ start: @Sendable (isolated Reactor) throws(SystemError) -> any Role
  ) throws(SystemError) {
    DescriptorLimit.raise()
    clinux_map_large_blocks(Limits.mappedBlockBytes)
    MemoryPrivacy.forbidCoreFiles()
    if holdsSecrets { MemoryPrivacy.close() }
    try Reactor().runOnCallingThread { (reactor) throws(SystemError) in
      let process = RoleProcess(try start(reactor), own: own)
      let stopping = RoleProcess.stopSignals.filter { !own.contains($0) }
      process.watcher = try SignalWatcher(stopping + own, receiver: process, on: reactor)
      process.manager?.tell("READY=1")
      process.feedWatchdog(on: reactor)
    }
  }

  private init(_ role: any Role, own: [CInt]) {
    self.role = role
    self.own = own
  }

  /// SIGTERM, SIGINT, and SIGHUP unless the process was started with that one ignored, as nohup(1) does: a blocked
  /// signal comes to a signalfd also when it is ignored, so whoever watches has to honour the wish.
  private static var stopSignals: [CInt] {
    clinux_ignores(SIGHUP) == 0 ? [SIGTERM, SIGINT, SIGHUP] : [SIGTERM, SIGINT]
  }

  /// The role's own signals go to it; of the others the first stops it and a later one ends it.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    if own.contains(signal) { return role.signalled(signal, on: reactor) }
    if let stopBegan {
      if reactor.now.since(stopBegan) >= Limits.secondSignal { role.hurry(on: reactor) }
      return
    }
    stopBegan = reactor.now
    manager?.tell("STOPPING=1")
    Task.immediate(executorPreference: reactor.queue) {
      await role.stop(on: reactor)
      reactor.stop()
    }
  }

  /// A role that stops ends its loops one by one; how long that may take is for the manager's own deadline.
  private func feedWatchdog(on reactor: isolated Reactor) {
    guard let manager, let span = manager.watchdog else { return }
    if stopBegan != nil || role.turns(within: span, on: reactor) { manager.tell("WATCHDOG=1", isRepeated: true) }
    reactor.arm(watchdog, after: TimeSpan(nanoseconds: span.nanoseconds / Limits.watchdogFeedings))
  }

  /// It is time to say again that all is well.
  public override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    feedWatchdog(on: reactor)
  }
}
