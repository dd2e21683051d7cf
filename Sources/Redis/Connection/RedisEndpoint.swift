/// `host:port` of a server, as others tell it.
enum RedisEndpoint {
  /// Brackets stand around an IPv6 address.
  static func text(_ host: String, _ port: String) -> String {
    host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
  }

  /// The same; without a host it is that of `endpoint`, where this was heard.
  static func text(_ host: String, _ port: String, heardAt endpoint: String) -> String {
    guard host.isEmpty else { return text(host, port) }
    let known = endpoint.lastIndex(of: ":").map { String(endpoint[..<$0]) } ?? ""
    return "\(known):\(port)"
  }
}
