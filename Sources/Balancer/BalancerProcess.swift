import Glibc
public import Reactor
public import Telemetry

/// A whole balancer process.
public enum BalancerProcess {
  /// Runs a balancer until SIGTERM or SIGINT, which must be blocked already, and then drains it.
  /// - Throws: `SystemError` if the address is taken or not allowed, or the system is out of descriptors or threads.
  public static func run(_ configuration: BalancerConfiguration, log: Logger, metrics: Metrics) throws(SystemError) {
    raiseDescriptorLimit()
    let instance = try BalancerInstance(configuration, log: log, metrics: metrics)
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigaddset(&signals, SIGINT)
    var signal: CInt = 0
    while sigwait(&signals, &signal) != 0 {}
    log.info("stopping", [("signal", String(signal))])
    instance.drain()
    instance.join()
    log.info("stopped")
  }

  /// A proxied request holds two descriptors: asks for as many as the system allows.
  private static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }
}
