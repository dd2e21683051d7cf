import Glibc
import Launcher
import Reactor
import VersionedStore

/// Starts the whole system.
enum Up {
  /// Runs until a signal ends it.
  /// - Throws: `CommandError`.
  static func run(_ configuration: Configuration) throws(CommandError) {
    let executable = Files.executable
    var launcher = LauncherConfiguration(
      executable: executable, dataFolder: configuration.text(.dataFolder) ?? "",
      redisConfiguration: try redisConfiguration(configuration, executable))
    launcher.port = UInt16(configuration.integer(.port))
    launcher.host = try HostName.listening(configuration.text(.host) ?? "", port: launcher.port).host
    launcher.apiCount = configuration.integer(.apiCount)
    launcher.workerCount = configuration.integer(.workerCount)
    launcher.serviceCount = configuration.integer(.serviceCount)
    launcher.keyServerCount = configuration.integer(.keyServerCount)
    // People start it and look at it, also through a pipe: the default is text.
    let logs = configuration.choice(.logs)
    launcher.logsAreJSON = logs == "json" || logs == "auto" && isatty(STDOUT_FILENO) == 0
    launcher.isVerbose = configuration.isOn(.verbose)
    launcher.environment = Files.environment
    for role in [Command.migrate, .balance, .api, .worker, .service, .kv] {
      launcher.roleEnvironments[role.rawValue] = configuration.environment(for: role)
    }
    if configuration.text(.waitersMax) == nil {
      let waiters = TaskRoles.waitersMax(apis: launcher.apiCount)
      launcher.roleEnvironments[Command.api.rawValue]?[Setting.waitersMax.variable] = String(waiters)
    }
    // A store keeps the partitions that it was made with, and the balancer must count on these.
    if !KeyValueRole.isInPostgres(configuration),
      let store = try? StoreFolder(existing: Launch.keys(below: launcher.dataFolder))
    {
      launcher.roleEnvironments[Command.balance.rawValue]?[Setting.kvPartitions.variable] = String(store.partitions)
    }
    launcher.check = { (arguments, environment) throws(LaunchError) in
      do throws(CommandError) {
        try RoleCheck.run(arguments, environment: environment)
      } catch {
        throw LaunchError(error.message, .configuration)
      }
    }
    do {
      try Launch.run(launcher)
    } catch {
      let code =
        switch error.kind {
        case .failure: ExitCode.failure
        case .missingDependency: ExitCode.unavailable
        case .configuration: ExitCode.configuration
        }
      throw CommandError(message: error.description, exitCode: code)
    }
  }

  /// The file that was named, or the one beside the program, in a folder above it or its share, or in the system's.
  private static func redisConfiguration(
    _ configuration: Configuration, _ executable: String
  ) throws(CommandError) -> String {
    if let path = configuration.text(.redisConfiguration) {
      guard access(path, R_OK) == 0 else { throw .configuration("cannot read '\(path)'") }
      return path
    }
    var folders: [String] = []
    var folder = executable[...]
    while let slash = folder.lastIndex(of: "/") {
      folder = folder[..<slash]
      folders += [String(folder), "\(folder)/share/millrace"]
    }
    folders += ["/usr/share/millrace", "/etc/millrace"]
    guard let found = folders.map({ $0 + "/redis.conf" }).first(where: { access($0, R_OK) == 0 }) else {
      throw .configuration("there is no redis.conf beside the program; name one with --redis-conf")
    }
    return found
  }
}
