import Backends
import KeyValueServer
import Reactor
import Telemetry
import VersionedStore

/// Starts a server of keys and their versions.
enum KeyValueRole {
  /// Runs a server until a signal stops it.
  /// - Throws: `CommandError`.
  static func run(_ configuration: Configuration) throws(CommandError) {
    let server = try plan(configuration)
    let folder = try makeFolder(configuration)
    try TaskRoles.run(
      configuration.logger("kv"), listens: server.endpoints, flag: "--listen, or --host and --port"
    ) { (log) throws(SystemError) in
      try KeyValueServerProcess.run(server, in: folder, log: log, metrics: Metrics())
    }
  }

  /// What a server that was told this does.
  /// - Throws: `CommandError` if it cannot do that.
  static func plan(_ configuration: Configuration) throws(CommandError) -> KeyValueServerConfiguration {
    var server = KeyValueServerConfiguration()
    server.name = configuration.text(.kvName) ?? HostName.own
    server.endpoints = try configuration.addresses()
    if server.endpoints.isEmpty {
      let (host, port) = (configuration.text(.host) ?? "", UInt16(configuration.integer(.port)))
      server.endpoints = [try HostName.listening(host, port: port)]
    }
    let (peers, names) = try configuration.backends(.kvServers)
    if let name = names.first {
      throw .configuration("KV_SERVERS: '\(name.name)' is a name for several servers; each of the store's has its own")
    }
    server.peers = peers.map { KeyValuePeer(name: $0.name, address: $0.address) }
    server.maxVersions = configuration.integer(.kvMaxVersions)
    server.cacheEntries = configuration.integer(.kvCacheEntries)
    server.memoryBytes = configuration.integer(.memoryMiB) << 20
    return server
  }

  /// The folder of the store, which is made unless it is there.
  /// - Throws: `CommandError`: 78 if it was made with other partitions, 1 if it cannot be made or read.
  private static func makeFolder(_ configuration: Configuration) throws(CommandError) -> StoreFolder {
    let wished = configuration.text(.kvPartitions).flatMap { Int($0) }
    do throws(StoreError) {
      return try StoreFolder(
        configuration.text(.kvData) ?? "", partitions: wished ?? KeyValueRole.partitionsUsual, isWish: wished != nil)
    } catch {
      throw KeyValueRole.failure(error)
    }
  }

  /// How many partitions a store is made with unless somebody says otherwise.
  static let partitionsUsual = 8

  /// What a command ends with that the store did not do what it was asked.
  static func failure(_ error: StoreError) -> CommandError {
    switch error {
    case .foreign(let reason): .configuration(reason)
    case .held(let name):
      CommandError(message: "'\(name)' has the store: stop it first", exitCode: ExitCode.failure)
    default: CommandError(message: error.description, exitCode: ExitCode.failure)
    }
  }
}
