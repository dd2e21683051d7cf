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
    let log = configuration.logger("kv")
    let place = try place(configuration, log)
    try TaskRoles.run(
      log, listens: server.endpoints, flag: "--listen, or --host and --port"
    ) { (log) throws(SystemError) in
      try KeyValueServerProcess.run(server, place, log: log, metrics: Metrics())
    }
  }

  /// Where the store is: a folder, or the tables of a PostgreSQL, which are asked how many partitions there are.
  /// - Throws: `CommandError`: 75 if PostgreSQL cannot be reached or lacks the tables, 78 for other partitions.
  private static func place(_ configuration: Configuration, _ log: Logger) throws(CommandError) -> KeyValueStorePlace {
    guard isInPostgres(configuration) else { return .folder(try makeFolder(configuration)) }
    let wished = configuration.partitions
    let postgres = configuration.postgres
    let found = try OneTask.run { (pool, reactor) async throws(StoreError) -> Int in
      try await StoreSchema.partitions(
        postgres, wished: wished ?? KeyValueRole.partitionsUsual, isWish: wished != nil, pool: pool, log: log,
        on: reactor)
    }
    do throws(StoreError) { return .postgres(postgres, partitions: try found.get()) } catch {
      throw databaseFailure(error)
    }
  }

  /// Whether the store is in PostgreSQL.
  static func isInPostgres(_ configuration: Configuration) -> Bool { configuration.choice(.kvEngine) == "postgres" }

  /// What a command ends with to which PostgreSQL has not answered as it should.
  static func databaseFailure(_ error: StoreError) -> CommandError {
    switch error {
    case .failed(let reason):
      CommandError(message: "\(reason); was 'millrace migrate' run?", exitCode: ExitCode.unavailable)
    case .unavailable(let reason): CommandError(message: reason, exitCode: ExitCode.unavailable)
    default: failure(error)
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
    server.peers = try configuration.keyServers().map { KeyValuePeer(name: $0.name, address: $0.address) }
    server.maxVersions = configuration.integer(.kvMaxVersions)
    server.cacheEntries = configuration.integer(.kvCacheEntries)
    server.memoryBytes = configuration.integer(.memoryMiB) << 20
    return server
  }

  /// The folder of the store, which is made unless it is there.
  /// - Throws: `CommandError`: 78 if it was made with other partitions, 1 if it cannot be made or read.
  static func makeFolder(_ configuration: Configuration) throws(CommandError) -> StoreFolder {
    let wished = configuration.partitions
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
