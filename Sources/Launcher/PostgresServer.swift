import Glibc
import Reactor

/// The private PostgreSQL: where its programs are, how its data are made, how it is configured and started.
struct PostgresServer {
  /// The database and the role that own everything.
  static let name = "millrace"
  static let port = 5432
  private let programs: String
  private let folder: DataFolder

  /// - Throws: `LaunchError` if PostgreSQL is not installed.
  init(_ folder: DataFolder) throws(LaunchError) {
    // A server reads only data that its own version has made.
    let version = TextFile.read(folder.postgres + "/PG_VERSION").flatMap { Int($0.prefix { $0.isNumber }) }
    guard let programs = PostgresServer.findPrograms(version: version) else {
      if let version {
        throw LaunchError(
          "the data in \(folder.postgres) were made by PostgreSQL \(version), which is not installed; "
            + "on Debian: apt-get install postgresql-\(version)", .missingDependency)
      }
      throw LaunchError(
        "PostgreSQL is not installed; on Debian: apt-get install postgresql postgresql-client", .missingDependency)
    }
    if let complaint = ForeignProgram.postgres(in: programs).complaint {
      throw LaunchError(complaint, .missingDependency)
    }
    self.programs = programs
    self.folder = folder
  }

  /// The folder with `initdb` and `postgres`, of the version asked for or else the newest; nil if there is none.
  static func findPrograms(version: Int?) -> String? {
    var installed: [Int] = []
    if let list = opendir("/usr/lib/postgresql") {
      while let entry = readdir(list) {
        let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if let number = Int(name) { installed.append(number) }
      }
      closedir(list)
    }
    let path = getenv("PATH").map { String(cString: $0) } ?? ""
    return candidates(version: version, installed: installed, path: path.split(separator: ":").map(String.init))
      .first { access($0 + "/initdb", X_OK) == 0 && access($0 + "/postgres", X_OK) == 0 }
  }

  /// Where to look, in order. Folders in PATH tell no version, so they are asked for one only where Debian's own
  /// folders do not exist.
  static func candidates(version: Int?, installed: [Int], path: [String]) -> [String] {
    func folder(_ version: Int) -> String { "/usr/lib/postgresql/\(version)/bin" }
    if let version, !installed.isEmpty { return [folder(version)] }
    return installed.sorted(by: >).map(folder) + path
  }

  private var draft: String { folder.postgres + ".new" }

  var isInitialized: Bool { access(folder.postgres + "/PG_VERSION", F_OK) == 0 }

  /// Removes what an interrupted first start has left.
  func removal(environment: [String: String]) -> ChildStarter.Start {
    ChildStarter.Start(
      arguments: ["/bin/rm", "-rf", draft], environment: environment, user: nil, deathSignal: SIGKILL)
  }

  /// Makes an empty folder for the data, aside.
  func makeDraft() throws(LaunchError) {
    try folder.makeServerFolder(draft)
  }

  /// The steps that make the data, each a program run to its end.
  func initialization(environment: [String: String]) -> [ChildStarter.Start] {
    // Trust is enough on a socket in a folder that only its owner and root can enter.
    let place = place(of: draft)
    let make = [
      programs + "/initdb", "-D", place, "-U", PostgresServer.name, "--auth=trust", "-E", "UTF8",
      "--locale=C.UTF-8", "--data-checksums", "--no-instructions",
    ]
    let create = [
      "/bin/sh", "-c", "echo 'create database \(PostgresServer.name)' | \"$0\" --single -D \"$1\" postgres >/dev/null",
      programs + "/postgres", place,
    ]
    return [make, create].map { start($0, in: draft, environment: environment, deathSignal: SIGKILL) }
  }

  /// What the server calls one of its folders.
  private func place(of path: String) -> String { folder.isReachable ? path : ChildStarter.folderPath }

  private func start(
    _ arguments: [String], in path: String, environment: [String: String], deathSignal: CInt
  ) -> ChildStarter.Start {
    ChildStarter.Start(
      arguments: arguments, environment: environment, user: folder.serverUser,
      folder: folder.isReachable ? nil : path, deathSignal: deathSignal)
  }

  /// Puts the data that `initialization` has made in place.
  func finishInitialization() throws(LaunchError) {
    // What was counted while the data were made: autovacuum visits each database that something is counted of, and
    // would come to two that nobody uses, three times as often for nothing.
    unlink(draft + "/pg_stat/pgstat.stat")
    do {
      try TextFile.write("\ninclude 'millrace.conf'\n", to: draft + "/postgresql.conf", appending: true)
      try systemCall("rename") { rename(draft, folder.postgres) }
    } catch {
      throw LaunchError("cannot finish \(draft): \(error)")
    }
  }

  /// The process of an earlier start that still works on the data, nil if there is none: killed together with its
  /// launcher it first writes a checkpoint, and until then no other server may begin.
  var formerProcess: pid_t? {
    let file = TextFile.read(folder.postgres + "/postmaster.pid")
    guard let pid = file?.split(separator: "\n").first.flatMap({ pid_t($0) }) else { return nil }
    // A number may have gone to another process meanwhile; a server stands in its folder.
    guard let here = realpath("/proc/\(pid)/cwd", nil), let there = realpath(folder.postgres, nil) else { return nil }
    defer {
      free(here)
      free(there)
    }
    return strcmp(here, there) == 0 ? pid : nil
  }

  /// Writes the settings, anew at each start, with connections for `roles` processes.
  func writeSettings(roles: Int) throws(LaunchError) {
    let text = """
      # Written at each start of 'millrace up'; your own settings belong into postgresql.conf, behind the include.
      listen_addresses = ''
      unix_socket_directories = '\(folder.run)'
      unix_socket_permissions = 0700
      port = \(PostgresServer.port)
      max_connections = \(max(100, roles * Limits.connectionsPerRole + Limits.spareConnections))

      # A commit that was acknowledged is on disk. These two stay on.
      fsync = on
      synchronous_commit = on

      # A queue is written all the time: large, rare checkpoints, and an eager autovacuum for its small tables.
      shared_buffers = 256MB
      wal_buffers = 16MB
      max_wal_size = 4GB
      # A new segment of the log is filled with zeros while all commits wait, 50 ms every 1.5 s under load. So segments
      # are kept and written over, and new ones are not filled.
      min_wal_size = 1GB
      wal_init_zero = off
      checkpoint_timeout = 15min
      autovacuum_naptime = 20s
      autovacuum_vacuum_cost_delay = 0

      # Short statements on fast disks: compiling them costs more than running them.
      jit = off
      random_page_cost = 1.1

      log_destination = 'stderr'
      logging_collector = off
      log_checkpoints = off
      log_min_messages = warning
      # Statements and the values in them are inputs of users: none of them in a log.
      log_min_error_statement = panic
      log_statement = none
      log_min_duration_statement = -1
      log_parameter_max_length = 0
      log_parameter_max_length_on_error = 0
      log_error_verbosity = terse
      log_line_prefix = ''
      """
    do {
      try TextFile.write(text + "\n", to: folder.postgres + "/millrace.conf")
    } catch {
      throw LaunchError("cannot write \(folder.postgres)/millrace.conf: \(error)")
    }
  }

  /// The server itself. SIGINT lets it end its sessions and stop at once in good order; SIGQUIT ends it like a power
  /// cut, which it survives.
  func child(environment: [String: String]) -> ChildDescription {
    ChildDescription(
      name: "postgres",
      start: start(
        [programs + "/postgres", "-D", place(of: folder.postgres)], in: folder.postgres, environment: environment,
        deathSignal: SIGINT),
      stopSignal: SIGINT, killSignal: SIGQUIT, readiness: .postmaster(pidFile: folder.postgres + "/postmaster.pid"),
      place: "psql -h \(Shell.quoted(folder.run)) -U \(PostgresServer.name) \(PostgresServer.name)")
  }
}
