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
    var backends: [BalancerConfiguration.BackendAddress] = []
    var names: [BackendName] = []
    for text in configuration.list(.backends) {
      if let name = BackendName(text) { names.append(name) } else { backends.append(try backend(text)) }
    }
    guard !backends.isEmpty || !names.isEmpty else {
      throw .configuration("no server to send requests to: --backend HOST:PORT")
    }
    try check(names, beside: backends)
    guard backends.count <= Balancing.Limits.backendsMax else {
      throw .configuration("\(backends.count) servers are more than \(Balancing.Limits.backendsMax)")
    }
    if let twice = backends.map(\.name).first(where: { name in backends.filter { $0.name == name }.count > 1 }) {
      throw .configuration("two servers are called '\(twice)'")
    }
    var balancer = BalancerConfiguration(listen: listen, backends: backends)
    balancer.names = names
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

  /// Servers behind a name are called after it, with a number: nobody else may come to be called so.
  private static func check(
    _ names: [BackendName], beside backends: [BalancerConfiguration.BackendAddress]
  ) throws(CommandError) {
    guard names.count <= BalancerLimits.namesMax else {
      throw .configuration("\(names.count) names of servers are more than \(BalancerLimits.namesMax)")
    }
    for (index, name) in names.enumerated() {
      if names[..<index].contains(where: { $0.name == name.name }) {
        throw .configuration("two names of servers are called '\(name.name)'")
      }
      if let taken = backends.first(where: { name.mayName($0.name) }) {
        throw .configuration("'\(taken.name)' is what a server behind the name '\(name.name)' may come to be called")
      }
    }
  }

  private static var processors: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  /// Reads `[NAME=]HOST:PORT[*WEIGHT]`; a host name is looked up once, here. One with `dns:` before it that is no
  /// `BackendName` ends here too.
  static func backend(_ text: String) throws(CommandError) -> BalancerConfiguration.BackendAddress {
    if let backend = BalancerConfiguration.BackendAddress(text) { return backend }
    let afterName = text.firstIndex(of: "=").map { text.index(after: $0) } ?? text.startIndex
    let address = text[afterName...].prefix { $0 != "*" && $0 != "?" }
    let name = afterName == text.startIndex ? "\(address)=" : String(text[..<afterName])
    guard let colon = address.lastIndex(of: ":"), let port = UInt16(address[address.index(after: colon)...]),
      let found = try HostName.addresses(of: String(address[..<colon]), port: port).first,
      let backend = BalancerConfiguration.BackendAddress(name + found.description + text[address.endIndex...])
    else {
      throw .configuration(
        "'\(text)' is neither [NAME=]HOST:PORT[*WEIGHT] with a host that can be found nor "
          + "[NAME=]dns:HOST:PORT[*WEIGHT]")
    }
    return backend
  }
}
