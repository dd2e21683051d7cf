import Backends
import Balancer
import Balancing
import Reactor

extension Configuration {
  /// The servers that `setting` lists, and the names that lead to further ones.
  /// - Throws: `CommandError` if one of them is none, or called like another.
  func backends(_ setting: Setting) throws(CommandError) -> (servers: [BackendAddress], names: [BackendName]) {
    var servers: [BackendAddress] = []
    var names: [BackendName] = []
    for text in list(setting) {
      if let name = BackendName(text) { names.append(name) } else { servers.append(try Configuration.backend(text)) }
    }
    try Configuration.check(names, beside: servers)
    guard servers.count <= Balancing.Limits.backendsMax else {
      throw .configuration("\(servers.count) servers are more than \(Balancing.Limits.backendsMax)")
    }
    if let twice = servers.map(\.name).first(where: { name in servers.filter { $0.name == name }.count > 1 }) {
      throw .configuration("two servers are called '\(twice)'")
    }
    return (servers, names)
  }

  /// The servers of a store of keys.
  /// - Throws: `CommandError` if one of them is none, or stands for several.
  func keyServers() throws(CommandError) -> [BackendAddress] {
    let (servers, names) = try backends(.kvServers)
    if let name = names.first {
      throw .configuration("KV_SERVERS: '\(name.name)' is a name for several servers; each of the store's has its own")
    }
    guard servers.count <= BalancerLimits.keyServersMax else {
      throw .configuration("KV_SERVERS: \(servers.count) servers are more than \(BalancerLimits.keyServersMax)")
    }
    return servers.map { server in
      var server = server
      server.purpose = .keys
      return server
    }
  }

  /// How many partitions a store of keys was told to have, nil if nobody has said.
  var partitions: Int? { text(.kvPartitions).flatMap { Int($0) } }

  /// Servers for any request and such of keys as one list.
  /// - Throws: `CommandError` if two of them are called alike, or may come to be.
  static func together(
    _ backends: [BackendAddress], _ names: [BackendName], _ keyServers: [BackendAddress]
  ) throws(CommandError) -> [BackendAddress] {
    if let twice = keyServers.map(\.name).first(where: { name in backends.contains { $0.name == name } }) {
      throw .configuration("two servers are called '\(twice)': one of BACKENDS and one of KV_SERVERS")
    }
    try check(names, beside: keyServers)
    return backends + keyServers
  }

  /// Servers behind a name are called after it, with a number: nobody else may come to be called so.
  private static func check(
    _ names: [BackendName], beside backends: [BackendAddress]
  ) throws(CommandError) {
    guard names.count <= BackendLimits.namesMax else {
      throw .configuration("\(names.count) names of servers are more than \(BackendLimits.namesMax)")
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

  /// Reads `[NAME=]HOST:PORT[*WEIGHT]`; a host name is looked up once, here. One with `dns:` before it that is no
  /// `BackendName` ends here too.
  static func backend(_ text: String) throws(CommandError) -> BackendAddress {
    if let backend = BackendAddress(text) { return backend }
    let afterName = text.firstIndex(of: "=").map { text.index(after: $0) } ?? text.startIndex
    let address = text[afterName...].prefix { $0 != "*" && $0 != "?" }
    let name = afterName == text.startIndex ? "\(address)=" : String(text[..<afterName])
    guard let colon = address.lastIndex(of: ":"), let port = UInt16(address[address.index(after: colon)...]),
      let found = try HostName.addresses(of: String(address[..<colon]), port: port).first,
      let backend = BackendAddress(name + found.description + text[address.endIndex...])
    else {
      throw .configuration(
        "'\(text)' is neither [NAME=]HOST:PORT[*WEIGHT] with a host that can be found nor "
          + "[NAME=]dns:HOST:PORT[*WEIGHT]")
    }
    return backend
  }
}
