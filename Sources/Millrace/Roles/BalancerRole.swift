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
    balancer.adminToken = configuration.text(.adminToken)
    balancer.trustsLoopback = configuration.isOn(.adminTrustLoopback)
    balancer.healthPath = configuration.text(.healthPath) ?? ""
    try TaskRoles.run(configuration.logger("balancer"), listens: [listen], flag: "--host and --port") {
      (log) throws(SystemError) in
      try BalancerProcess.run(balancer, log: log, metrics: Metrics())
    }
  }

  private static var processors: Int { Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  /// Reads `[NAME=]HOST:PORT[*WEIGHT]`; a host name is looked up once, here.
  static func backend(_ text: String) throws(CommandError) -> BalancerConfiguration.BackendAddress {
    if let backend = BalancerConfiguration.BackendAddress(text) { return backend }
    let afterName = text.firstIndex(of: "=").map { text.index(after: $0) } ?? text.startIndex
    let address = text[afterName...].prefix { $0 != "*" }
    guard let colon = address.lastIndex(of: ":"), let found = lookUp(String(address[..<colon])),
      let backend = BalancerConfiguration.BackendAddress(
        (afterName == text.startIndex ? "\(address)=" : String(text[..<afterName])) + found + text[colon...])
    else { throw .configuration("'\(text)' is not [NAME=]HOST:PORT[*WEIGHT] with a host that can be found") }
    return backend
  }

  /// The first IP address of a host name, in brackets if it is IPv6; nil if there is none. It blocks, which only a
  /// command that has not begun to serve may do.
  private static func lookUp(_ host: String) -> String? {
    var hints = addrinfo()
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>?
    guard getaddrinfo(host, nil, &hints, &list) == 0, let first = list else { return nil }
    defer { freeaddrinfo(list) }
    var name = [CChar](repeating: 0, count: Int(NI_MAXHOST))
    let code = getnameinfo(
      first.pointee.ai_addr, first.pointee.ai_addrlen, &name, socklen_t(name.count), nil, 0, NI_NUMERICHOST)
    guard code == 0 else { return nil }
    let text = String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    return text.contains(":") ? "[\(text)]" : text
  }
}
