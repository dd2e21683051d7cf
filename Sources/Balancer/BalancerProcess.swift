import Basics
import Glibc
public import Reactor
public import Telemetry

/// A whole balancer process: the reactors that proxy, and one on the calling thread that waits for signals.
public final class BalancerProcess: SignalReceiver {
  private let instance: BalancerInstance
  private let log: Logger
  private let joiner: ComputePool
  private var signals: SignalWatcher?
  private var stopBegan: MonotonicTime?

  /// Runs a balancer until SIGTERM or SIGINT, which must be blocked already, and then drains it; a second signal ends
  /// it at once. SIGHUP does not end it.
  /// - Throws: `SystemError` if the address is taken or not allowed, or the system is out of descriptors or threads.
  public static func run(_ configuration: BalancerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    DescriptorLimit.raise()
    let joiner = try ComputePool(width: 1, name: "joiner")
    let instance = try BalancerInstance(configuration, log: log, metrics: metrics)
    try Reactor().runOnCallingThread { (reactor) throws(SystemError) in
      let process = BalancerProcess(instance, joiner: joiner, log: log)
      process.signals = try SignalWatcher([SIGTERM, SIGINT, SIGHUP], receiver: process, on: reactor)
    }
    log.flush()
  }

  private init(_ instance: BalancerInstance, joiner: ComputePool, log: Logger) {
    self.instance = instance
    self.joiner = joiner
    self.log = log
  }

  /// The first signal begins to drain. Another one ends the process, unless it is the same wish: a terminal or
  /// timeout(1) signals the process and its group.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    if signal == SIGHUP { return log.info("SIGHUP: settings are read at the start only; the balancer goes on") }
    if let stopBegan {
      guard reactor.now.since(stopBegan) >= .milliseconds(BalancerLimits.secondSignalMs) else { return }
      log.warning("ending at once")
      return reactor.stop()
    }
    stopBegan = reactor.now
    log.info("stopping", [("signal", String(signal))])
    instance.drain()
    Task.immediate(executorPreference: reactor.queue) {
      let instance = self.instance
      // The pool refuses nothing: this is its only job.
      try? await self.joiner.run(on: reactor) { instance.join() }
      self.log.info("stopped")
      reactor.stop()
    }
  }
}
