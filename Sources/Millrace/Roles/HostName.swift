import Glibc
import Reactor

/// Looks up the names of hosts before a role begins to serve.
enum HostName {
  /// The address to listen on that `host` means: itself, or the first one of that name, IPv4 before IPv6.
  /// - Throws: `CommandError`: 78 if it has none.
  static func listening(_ host: String, port: UInt16) throws(CommandError) -> SocketAddress {
    if let address = SocketAddress(ip: host, port: port) { return address }
    let found = host.isEmpty ? [] : try addresses(of: host, port: port)
    guard let address = found.first(where: { $0.family == AF_INET }) ?? found.first else {
      throw .configuration("'\(host)' is no address to listen on, and no name of one")
    }
    return address
  }

  /// The addresses of a host name, none if it cannot be found.
  static func addresses(of host: String, port: UInt16) throws(CommandError) -> [SocketAddress] {
    let found = try OneTask.run { (pool, reactor) async throws(Resolver.Failure) -> [SocketAddress] in
      try await Resolver(pool: pool).addresses(of: host, port: port, on: reactor)
    }
    return (try? found.get()) ?? []
  }
}
