import Balancer
import Balancing
import Glibc
import Reactor
import Telemetry

/// Starts the balancer.
enum BalancerRole {
  /// Runs a balancer until a signal stops it.
  /// - Throws: `CommandError`.
  static func run(_ configuration: Configuration) throws(CommandError) {
    let log = configuration.logger("balancer")
    let balancer = try plan(configuration, log)
    try TaskRoles.run(log, listens: [balancer.listen], flag: "--host and --port") {
      (log) throws(SystemError) in
      try BalancerProcess.run(balancer, log: log, metrics: Metrics())
    }
  }

  /// What a balancer that was told this does; `log` is for what it finds of its configuration later.
  /// - Throws: `CommandError` if it cannot do that.
  static func plan(_ configuration: Configuration, _ log: Logger? = nil) throws(CommandError) -> BalancerConfiguration {
    let listen = try HostName.listening(configuration.text(.host) ?? "", port: UInt16(configuration.integer(.port)))
    let (backends, names) = try configuration.backends(.backends)
    let keyServers = try configuration.keyServers()
    guard !backends.isEmpty || !names.isEmpty || !keyServers.isEmpty else {
      throw .configuration("no server to send requests to: --backend HOST:PORT")
    }
    var balancer = BalancerConfiguration(
      listen: listen, backends: try Configuration.together(backends, names, keyServers))
    balancer.names = names
    balancer.partitions = configuration.partitions ?? KeyValueRole.partitionsUsual
    balancer.reactors = configuration.text(.reactors).flatMap { Int($0) } ?? min(max(processors, 1), 64)
    balancer.strategy = Strategy(name: configuration.choice(.strategy)) ?? .roundRobin
    balancer.rateLimitRequests = configuration.integer(.rateLimit)
    balancer.rateLimitWindowSeconds = configuration.integer(.rateWindow)
    balancer.exposesBackend = configuration.isOn(.exposeBackend)
    let inFlight = configuration.integer(.backendInFlight)
    balancer.backendInFlightMax = inFlight == 0 ? .max : inFlight
    balancer.viaName = configuration.text(.via).flatMap { $0.isEmpty ? nil : $0 }
    balancer.memoryBytes = configuration.integer(.memoryMiB) << 20
    balancer.adminToken = configuration.text(.adminToken)
    balancer.trustsLoopback = configuration.isOn(.adminTrustLoopback)
    balancer.tokens = try configuration.tokens(log)
    balancer.healthPath = configuration.text(.healthPath) ?? ""
    return balancer
  }

  private static var processors: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}
