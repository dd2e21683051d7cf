import Glibc
import Reactor

/// What hosts are called, before a role begins to serve.
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

  /// What this machine calls itself: of a container its own, so that instances which are told the same differ.
  static var own: String {
    var name = [CChar](repeating: 0, count: TextForm.nameBytesMax + 1)
    let isKnown = gethostname(&name, name.count) == 0 && name[0] != 0
    return isKnown ? String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self) : "millrace"
  }

  /// The addresses of a host name, none if it cannot be found.
  static func addresses(of host: String, port: UInt16) throws(CommandError) -> [SocketAddress] {
    let found = try OneTask.run { (pool, reactor) async throws(Resolver.Failure) -> [SocketAddress] in
      try await Resolver(pool: pool).addresses(of: host, port: port, on: reactor)
    }
    return (try? found.get()) ?? []
  }
}
