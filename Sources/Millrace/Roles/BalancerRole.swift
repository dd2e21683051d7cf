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
    let host = configuration.text(.host) ?? ""
    guard let listen = SocketAddress(ip: host, port: UInt16(configuration.integer(.port))) else {
      throw .configuration("'\(host)' is no address to listen on")
    }
    var backends: [BalancerConfiguration.BackendAddress] = []
    for text in configuration.list(.backends) { backends.append(try backend(text)) }
    guard !backends.isEmpty else { throw .configuration("no server to send requests to: --backend HOST:PORT") }
    guard backends.count <= Balancing.Limits.backendsMax else {
      throw .configuration("\(backends.count) servers are more than \(Balancing.Limits.backendsMax)")
    }
    if let twice = backends.map(\.name).first(where: { name in backends.filter { $0.name == name }.count > 1 }) {
      throw .configuration("two servers are called '\(twice)'")
    }
    var balancer = BalancerConfiguration(listen: listen, backends: backends)
    balancer.reactors = configuration.text(.reactors).flatMap { Int($0) } ?? min(max(processors, 1), 64)
    balancer.strategy = Strategy(name: configuration.choice(.strategy)) ?? .roundRobin
    balancer.rateLimitRequests = configuration.integer(.rateLimit)
    balancer.rateLimitWindowSeconds = configuration.integer(.rateWindow)
    balancer.exposesBackend = configuration.isOn(.exposeBackend)
    let inFlight = configuration.integer(.backendInFlight)
    balancer.backendInFlightMax = inFlight == 0 ? .max : inFlight
    balancer.viaName = try viaName(configuration.text(.via))
    balancer.adminToken = configuration.text(.adminToken)
    balancer.trustsLoopback = configuration.isOn(.adminTrustLoopback)
    balancer.healthPath = configuration.text(.healthPath) ?? ""
    try TaskRoles.run(configuration.logger("balancer"), listens: [listen], flag: "--host and --port") {
      (log) throws(SystemError) in
      try BalancerProcess.run(balancer, log: log, metrics: Metrics())
    }
  }

  /// A pseudonym for `Via` is a token (RFC 9110 §7.6.3).
  private static func viaName(_ text: String?) throws(CommandError) -> String? {
    guard let text, !text.isEmpty else { return nil }
    let isName = text.utf8.allSatisfy { byte in
      let letter = byte | 0x20
      return 0x61...0x7A ~= letter || 0x30...0x39 ~= byte || "-._".utf8.contains(byte)
    }
    guard isName else { throw .configuration("'\(text)' is no name for Via: letters, digits, '-', '.' and '_'") }
    return text
  }

  private static var processors: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  /// Reads `[NAME=]HOST:PORT[*WEIGHT]`; a host name is looked up once, here.
  static func backend(_ text: String) throws(CommandError) -> BalancerConfiguration.BackendAddress {
    if let backend = BalancerConfiguration.BackendAddress(text) { return backend }
    let afterName = text.firstIndex(of: "=").map { text.index(after: $0) } ?? text.startIndex
    let address = text[afterName...].prefix { $0 != "*" && $0 != "?" }
    let name = afterName == text.startIndex ? "\(address)=" : String(text[..<afterName])
    guard let colon = address.lastIndex(of: ":"), let port = UInt16(address[address.index(after: colon)...]),
      let found = try lookUp(String(address[..<colon]), port),
      let backend = BalancerConfiguration.BackendAddress(name + found.description + text[address.endIndex...])
    else { throw .configuration("'\(text)' is not [NAME=]HOST:PORT[*WEIGHT] with a host that can be found") }
    return backend
  }

  /// The first address of a host name, nil if there is none.
  private static func lookUp(_ host: String, _ port: UInt16) throws(CommandError) -> SocketAddress? {
    let found = try OneTask.run { (pool, reactor) async throws(Resolver.Failure) -> SocketAddress? in
      try await Resolver(pool: pool).addresses(of: host, port: port, on: reactor).first
    }
    return try? found.get()
  }
}
