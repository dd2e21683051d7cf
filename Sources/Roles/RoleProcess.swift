import Basics
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
}

extension Role {
  /// The process ends with what is in it.
  public func hurry(on reactor: isolated Reactor) { reactor.stop() }
  /// None was asked for.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {}
}

/// The process of one role: runs it on the calling thread until a signal stops it. The first SIGTERM, SIGINT or SIGHUP
/// stops it in good order, another one at once.
public final class RoleProcess: SignalReceiver {
  private let role: any Role
  private let own: [CInt]
  private var watcher: SignalWatcher?
  private var stopBegan: MonotonicTime?

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
    Task.immediate(executorPreference: reactor.queue) {
      await role.stop(on: reactor)
      reactor.stop()
    }
  }
}
