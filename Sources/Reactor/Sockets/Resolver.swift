import CLinux
import Glibc

/// Looks names up in the system's resolver, on a compute thread because `getaddrinfo` blocks.
public struct Resolver: Sendable {
  /// The resolver's own words for why a name has no address.
  public struct Failure: Error, Sendable, CustomStringConvertible {
    /// The name that was looked up.
    public let host: String
    /// As `gai_strerror` says it.
    public let reason: String
    /// `db.example: Name or service not known`
    public var description: String { "\(host): \(reason)" }
  }

  private let pool: ComputePool

  /// A resolver that blocks threads of `pool`.
  public init(pool: ComputePool) {
    self.pool = pool
  }

  /// All addresses of `host` with `port`, in the system's order of preference; an address in text is only parsed.
  /// - Throws: `Failure` if there is none, or too many lookups wait already.
  public func addresses(
    of host: String, port: UInt16, on reactor: isolated Reactor
  ) async throws(Failure) -> [SocketAddress] {
    if let address = SocketAddress(ip: host, port: port) { return [address] }
    let answer: Result<[SocketAddress], Failure>
    do {
      answer = try await pool.run(on: reactor) { Resolver.lookUp(host, port) }
    } catch {
      throw Failure(host: host, reason: "too many lookups are waiting")
    }
    return try answer.get()
  }

  private static func lookUp(_ host: String, _ port: UInt16) -> Result<[SocketAddress], Failure> {
    var hints = addrinfo()
    hints.ai_socktype = CInt(SOCK_STREAM.rawValue)
    hints.ai_flags = AI_ADDRCONFIG
    var list: UnsafeMutablePointer<addrinfo>?
    let code = getaddrinfo(host, nil, &hints, &list)
    guard code == 0 else { return .failure(Failure(host: host, reason: String(cString: gai_strerror(code)))) }
    defer { freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var next = list
    while let entry = next {
      var address = SocketAddress()
      withUnsafeMutableBytes(of: &address.storage) {
        $0.copyMemory(from: UnsafeRawBufferPointer(start: entry.pointee.ai_addr, count: Int(entry.pointee.ai_addrlen)))
      }
      address.length = entry.pointee.ai_addrlen
      address.port = port
      addresses.append(address)
      next = entry.pointee.ai_next
    }
    return .success(addresses)
  }
}
