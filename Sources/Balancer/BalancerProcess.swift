public import Basics
import Glibc
public import Reactor
public import Roles
public import Telemetry

/// A whole balancer process: the reactors that proxy, and one on the calling thread that waits for signals.
public final class BalancerProcess: Role {
  private let instance: BalancerInstance
  private let log: Logger
  private let joiner: ComputePool

  /// Runs a balancer until a signal stops it, and then drains it. SIGHUP does not end it.
  /// - Throws: `SystemError` if the address is taken or not allowed, or the system is out of descriptors or threads.
  public static func run(_ configuration: BalancerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    MemoryMetrics.register(in: metrics, limitBytes: configuration.memoryBytes)
    try RoleProcess.run(own: [SIGHUP]) { (_) throws(SystemError) in
      let joiner = try ComputePool(width: 1, name: "joiner")
      return BalancerProcess(
        try BalancerInstance(configuration, log: log, metrics: metrics), joiner: joiner, log: log)
    }
    log.flush()
  }

  private init(_ instance: BalancerInstance, joiner: ComputePool, log: Logger) {
    self.instance = instance
    self.joiner = joiner
    self.log = log
  }

  /// Lets requests in progress end and waits for the reactors.
  public func stop(on reactor: isolated Reactor) async {
    log.info("stopping")
    let instance = self.instance
    instance.drain()
    // The pool refuses nothing: this is its only job.
    try? await joiner.run(on: reactor) { instance.join() }
    log.info("stopped")
  }

  /// What is in progress is given up.
  public func hurry(on reactor: isolated Reactor) {
    log.warning("ending at once")
    reactor.stop()
  }

  /// Whether all its reactors do.
  public func turns(within span: TimeSpan, on reactor: isolated Reactor) -> Bool {
    // They show it every second.
    instance.turns(within: max(span, BalancerLimits.turnsShown), at: reactor.now)
  }

  /// SIGHUP is for reloading, and there is nothing to be reloaded.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    log.info("SIGHUP: settings are read at the start only; the balancer goes on")
  }
}
