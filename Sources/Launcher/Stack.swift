import Glibc
import Reactor

/// The processes of one system, in the order in which they start.
struct Stack {
  let postgres: ChildDescription
  let redis: ChildDescription
  let migration: ChildStarter.Start
  let apis: [ChildDescription]
  let workers: [ChildDescription]
  let services: [ChildDescription]
  let keyServers: [ChildDescription]
  let balancer: ChildDescription

  /// Describes everything; takes a port for each role, the wished one or, if that is taken, a free one.
  init(_ configuration: LauncherConfiguration, _ folder: DataFolder, _ server: PostgresServer) throws(LaunchError) {
    let common = Stack.environment(configuration, folder)
    func variables(_ role: String) -> [String: String] {
      common.merging(configuration.roleEnvironments[role] ?? [:]) { _, new in new }
    }
    func role(_ arguments: [String]) -> ChildStarter.Start {
      // Roles hold nothing that could be lost, so they end at once when the launcher does.
      ChildStarter.Start(
        arguments: [configuration.executable] + arguments, environment: variables(arguments[0]), user: nil,
        deathSignal: SIGKILL)
    }
    postgres = server.child(environment: common)
    redis = try Stack.redis(configuration, folder, common)
    migration = role(["migrate"])
    // A role that listens at a socket of its own, and for people on the port at this distance from the balancer's.
    func child(_ name: String, _ distance: Int, _ arguments: [String]) throws(LaunchError) -> ChildDescription {
      let port = Stack.port(near: Int(configuration.port) + distance)
      return ChildDescription(
        name: name,
        start: role(arguments + ["--listen", Stack.place(folder, name), "--listen", "127.0.0.1:\(port)"]),
        readiness: .http(try Stack.socket(folder, name)), place: "http://127.0.0.1:\(port)")
    }
    var (apis, workers, services) = ([ChildDescription](), [ChildDescription](), [ChildDescription]())
    let names = (0..<configuration.serviceCount).map { "service-\($0 + 1)" }
    // Our own instances read a short request in one go, so a reset means that they have not read it.
    let known = names.flatMap { ["--service", "\($0)=\(Stack.place(folder, $0))?resets=unread"] }
    for number in 1...configuration.apiCount {
      apis.append(try child("api-\(number)", number, ["api", "--gateway-id", "api-\(number)"] + known))
    }
    for number in 1...configuration.workerCount {
      let name = "worker-\(number)"
      workers.append(try child(name, configuration.apiCount + number, ["worker", "--worker-name", name]))
    }
    for (number, name) in names.enumerated() {
      let distance = configuration.apiCount + configuration.workerCount + 1 + number
      services.append(try child(name, distance, ["service", "--service-id", name]))
    }
    (self.apis, self.workers, self.services) = (apis, workers, services)
    let keyNames = (0..<configuration.keyServerCount).map { "server-\($0 + 1)" }
    let keyServers = keyNames.flatMap { ["--kv-server", "\($0)=\(Stack.place(folder, $0))"] }
    let before = apis.count + workers.count + services.count + 1
    self.keyServers = try keyNames.enumerated().map { number, name throws(LaunchError) in
      try child(name, before + number, ["kv", "--name", name, "--kv-data", folder.keys] + keyServers)
    }
    let backends = apis.flatMap { ["--backend", "\($0.name)=\(Stack.place(folder, $0.name))?resets=unread"] }
    let reachable = ["0.0.0.0": "127.0.0.1", "::": "::1"][configuration.host] ?? configuration.host
    guard let address = SocketAddress(ip: reachable, port: configuration.port) else {
      throw LaunchError("'\(configuration.host)' is no address to listen on", .configuration)
    }
    balancer = ChildDescription(
      name: "balancer",
      start: role(
        ["balance", "--host", configuration.host, "--port", String(configuration.port)] + backends + keyServers),
      readiness: .http(address), place: "http://\(address)")
  }

  /// The roles' own command lines, without the program, and what each finds in its environment.
  var roles: [(arguments: [String], environment: [String: String])] {
    ([migration] + (apis + workers + services + keyServers + [balancer]).map(\.start)).map {
      (Array($0.arguments.dropFirst()), $0.environment)
    }
  }

  var all: [ChildDescription] { [postgres, redis] + apis + workers + services + keyServers + [balancer] }

  private static func environment(_ configuration: LauncherConfiguration, _ folder: DataFolder) -> [String: String] {
    // What somebody has set for another PostgreSQL or Redis must not lead these processes there.
    // So must not what a service manager has said to the launcher alone.
    let foreign = [
      "PG", "REDIS_", "SECRET_KEY", "TOKEN_KEYS", "MILLRACE_LISTEN", "BACKENDS", "SERVICES", "KV_SERVERS",
      "DB_PASSWORD",
      "NOTIFY_SOCKET",
      "WATCHDOG_",
      "LISTEN_",
    ]
    var variables = configuration.environment.filter { entry in !foreign.contains { entry.key.hasPrefix($0) } }
    variables["DB_HOST"] = folder.run
    variables["DB_PORT"] = String(PostgresServer.port)
    variables["DB_NAME"] = PostgresServer.name
    variables["DB_USER"] = PostgresServer.name
    variables["REDIS_URL"] = "unix:\(folder.run)/redis.sock"
    variables["SECRET_KEY_FILE"] = folder.secretKey
    variables["TOKEN_KEYS_FILE"] = folder.tokenKeys
    variables["MILLRACE_LOGS"] = configuration.logsAreJSON ? "json" : "text"
    return variables
  }

  private static func redis(
    _ configuration: LauncherConfiguration, _ folder: DataFolder, _ environment: [String: String]
  ) throws(LaunchError) -> ChildDescription {
    let path = folder.run + "/redis.sock"
    guard let server = ForeignProgram.redis(path: environment["PATH"] ?? "/usr/bin:/bin") else {
      throw LaunchError("Redis is not installed; on Debian: apt-get install redis-server", .missingDependency)
    }
    if let complaint = server.complaint { throw LaunchError(complaint, .missingDependency) }
    return ChildDescription(
      name: "redis",
      start: ChildStarter.Start(
        arguments: [
          "redis-server", configuration.redisConfiguration, "--port", "0", "--unixsocket", path, "--dir", folder.redis,
            // It has nothing to save. One that took its time would remove the socket of the next one.
        ], environment: environment, user: nil, deathSignal: SIGKILL),
      readiness: .redis(try socket(folder, "redis")), place: "redis-cli -s \(Shell.quoted(path))")
  }

  private static func place(_ folder: DataFolder, _ name: String) -> String { "unix:\(folder.run)/\(name).sock" }

  private static func socket(_ folder: DataFolder, _ name: String) throws(LaunchError) -> SocketAddress {
    guard let address = SocketAddress(unixPath: "\(folder.run)/\(name).sock") else {
      throw LaunchError("the path of the socket \(folder.run)/\(name).sock is too long")
    }
    return address
  }

  /// A loopback port that nobody listens on at the moment: the wished one, or one that the kernel chooses.
  private static func port(near wished: Int) -> UInt16 {
    for candidate in [UInt16(exactly: wished) ?? 0, 0] {
      guard let address = SocketAddress(ip: "127.0.0.1", port: candidate), let fd = try? Socket.listen(on: address)
      else { continue }
      defer { close(fd) }
      return Socket.localAddress(fd).port
    }
    return 0
  }
}
