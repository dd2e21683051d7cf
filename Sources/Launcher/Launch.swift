import Basics
import Glibc
import Hashing
public import Reactor
public import Roles
import Tokens

/// Starts a system, keeps it running, and stops it when told: `millrace up`.
public final class Launch: Role {
  private let configuration: LauncherConfiguration
  private let folder: DataFolder
  private let server: PostgresServer
  private let printer: LogPrinter
  private let stack: Stack
  private var children: [Child] = []
  /// Programs that run to their end while starting.
  private var errands: [Child] = []
  private var isStopping = false
  private let ended = Pause()
  private var failure: LaunchError?

  /// Runs a system on the calling thread until a signal ends it; SIGINT, SIGTERM, SIGHUP and SIGCHLD must be blocked.
  /// - Throws: `LaunchError` if it could not be started.
  public static func run(_ configuration: LauncherConfiguration) throws(LaunchError) {
    try checkPort(configuration)
    let folder = try DataFolder(configuration.dataFolder)
    do {
      _ = try SecretKey.loadOrCreate(path: folder.secretKey)
    } catch {
      let kind: LaunchError.Kind = error == .malformedKey ? .configuration : .failure
      throw LaunchError("cannot make or read the secret key \(folder.secretKey): \(error)", kind)
    }
    do {
      _ = try TokenKeys.loadOrCreate(path: folder.tokenKeys, .hs256)
    } catch {
      let isFile = if case .file = error { true } else { false }
      throw LaunchError(
        "cannot make or read the keys of tokens, \(folder.tokenKeys): \(error)", isFile ? .failure : .configuration)
    }
    let launch = Unshared(try Launch(configuration, folder))
    do {
      try RoleProcess.run(own: [SIGCHLD]) { (reactor) throws(SystemError) in
        launch.value.begin(on: reactor)
        return launch.value
      }
    } catch {
      throw LaunchError("cannot start: \(error)")
    }
    if let failure = launch.value.failure { throw failure }
  }

  /// PostgreSQL's server, nil if it is not installed.
  public static var postgres: ForeignProgram? {
    PostgresServer.findPrograms(version: nil).map(ForeignProgram.postgres)
  }

  /// The file with the keys of the tokens of the system in the data folder at `path`.
  public static func tokenKeys(below path: String) -> String { DataFolder.tokenKeys(below: path) }

  /// The folder of the keys and their versions of the system in the data folder at `path`.
  public static func keys(below path: String) -> String { DataFolder.keys(below: path) }

  /// Lets the reactor's start closure, which runs on this very thread, use what belongs to it.
  private struct Unshared: @unchecked Sendable {
    // Safe because: the reactor runs on the thread that made the value and waits for the reactor's end.
    let value: Launch
    init(_ value: Launch) { self.value = value }
  }

  private init(_ configuration: LauncherConfiguration, _ folder: DataFolder) throws(LaunchError) {
    self.configuration = configuration
    self.folder = folder
    server = try PostgresServer(folder)
    stack = try Stack(configuration, folder, server)
    // A role that refuses to start would be found out only when all before it run.
    for role in stack.roles { try configuration.check(role.arguments, role.environment) }
    let width = stack.all.map(\.name.count).max() ?? 0
    printer = LogPrinter(
      isJSON: configuration.logsAreJSON, isVerbose: configuration.isVerbose, nameWidth: width)
  }

  private static func checkPort(_ configuration: LauncherConfiguration) throws(LaunchError) {
    guard let address = SocketAddress(ip: configuration.host, port: configuration.port) else {
      throw LaunchError("'\(configuration.host)' is no address to listen on", .configuration)
    }
    do {
      close(try Socket.listen(on: address))
    } catch {
      if error.code == EADDRNOTAVAIL {
        throw LaunchError("this machine has no address '\(configuration.host)' to listen on", .configuration)
      }
      let reason = error.code == EADDRINUSE ? "is in use" : "cannot be used (\(error))"
      throw LaunchError("port \(configuration.port) \(reason); choose another with --port")
    }
  }

  private func begin(on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      do throws(LaunchError) {
        try await self.start(on: reactor)
        self.announce()
      } catch {
        let isFailure = !self.isStopping
        if isFailure { self.failure = error }
        await self.stop(on: reactor)
        // By now everything is read that a child has said; its own words are the last that a person sees.
        if isFailure { self.failure = self.explained(error) }
      }
    }
  }

  /// A child has ended.
  public func signalled(_ signal: CInt, on reactor: isolated Reactor) {
    for child in children + errands { child.reap() }
  }

  /// Nothing is waited for any more.
  public func hurry(on reactor: isolated Reactor) {
    printer.notice("ending everything at once")
    for child in children + errands { child.killNow() }
  }

  private func start(on reactor: isolated Reactor) async throws(LaunchError) {
    try await initializeDatabase(on: reactor)
    try server.writeSettings(roles: stack.apis.count + stack.workers.count)
    try await awaitFormerServer(on: reactor)
    let stores = [keep(stack.postgres, on: reactor), keep(stack.redis, on: reactor)]
    try await untilReady(stores, on: reactor)
    try await runErrand(stack.migration, "migrate", on: reactor)
    let roles = (stack.apis + stack.workers + stack.services + stack.keyServers + [stack.balancer]).map {
      keep($0, on: reactor)
    }
    try await untilReady(roles, on: reactor)
  }

  /// Waits until all of `waiting` answer that they are ready. They may wait for each other, so all are asked in turn.
  private func untilReady(_ waiting: [Child], on reactor: isolated Reactor) async throws(LaunchError) {
    let deadline = reactor.now + .seconds(Limits.readySeconds)
    var waiting = waiting
    while true {
      var unready: [Child] = []
      for child in waiting where await !child.checkReady(on: reactor) { unready.append(child) }
      guard let first = unready.first else { return }
      if isStopping { throw LaunchError("stopped while starting") }
      if let culprit = unready.first(where: \.isLost) ?? (reactor.now >= deadline ? first : nil) {
        let name = culprit.description.name
        let end = culprit.lastEnd
        throw LaunchError("\(name) \(end?.meaning ?? "did not become ready")", end?.kind ?? .failure, culprit: name)
      }
      waiting = unready
      await reactor.sleep(for: .milliseconds(Limits.probeEveryMs))
    }
  }

  /// Waits for the end of a PostgreSQL that lost its launcher and has not yet written everything to disk.
  private func awaitFormerServer(on reactor: isolated Reactor) async throws(LaunchError) {
    let deadline = reactor.now + .seconds(Limits.formerServerSeconds)
    var isAnnounced = false
    while let pid = server.formerProcess {
      if isStopping { throw LaunchError("stopped while starting") }
      guard reactor.now < deadline else {
        throw LaunchError("the PostgreSQL of an earlier start, process \(pid), does not end")
      }
      if !isAnnounced { printer.notice("waiting for the PostgreSQL of an earlier start, process \(pid), to end") }
      isAnnounced = true
      await reactor.sleep(for: .milliseconds(Limits.probeEveryMs))
    }
  }

  private func initializeDatabase(on reactor: isolated Reactor) async throws(LaunchError) {
    guard !server.isInitialized else { return }
    printer.notice("first start: making a database in \(folder.postgres)")
    try await runErrand(server.removal(environment: configuration.environment), "initdb", on: reactor)
    try server.makeDraft()
    for step in server.initialization(environment: configuration.environment) {
      try await runErrand(step, "initdb", on: reactor)
    }
    try server.finishInitialization()
  }

  private func keep(_ description: ChildDescription, on reactor: isolated Reactor) -> Child {
    let child = Child(description, executable: configuration.executable, printer: printer)
    children.append(child)
    child.changed = { self.writeDown() }
    Task.immediate(executorPreference: reactor.queue) { await child.keepRunning(on: reactor) }
    return child
  }

  /// Writes down who runs; a list that cannot be written is missed by nobody but whoever asks for it.
  private func writeDown() {
    let entries = children.map {
      ProcessList.Entry(
        name: $0.description.name, pid: $0.pid, readiness: $0.description.readiness, place: $0.description.place)
    }
    try? ProcessList(launcher: getpid(), run: folder.run, entries: entries).write(to: folder.processes)
  }

  private func runErrand(
    _ start: ChildStarter.Start, _ name: String, on reactor: isolated Reactor
  ) async throws(LaunchError) {
    if isStopping { throw LaunchError("stopped while starting") }
    let description = ChildDescription(
      name: name, start: start, readiness: .postmaster(pidFile: ""), place: "")
    let child = Child(description, executable: configuration.executable, printer: printer)
    errands.append(child)
    defer { errands.removeAll { $0 === child } }
    let status: CInt
    do {
      status = try await child.runOnce(on: reactor)
    } catch {
      throw LaunchError("cannot run \(name): \(error)")
    }
    guard status == 0 else {
      printer.tellAll(of: name)
      throw LaunchError("\(name) \(Child.meaning(of: status))", Child.kind(of: status), culprit: name)
    }
  }

  private func explained(_ error: LaunchError) -> LaunchError {
    guard let culprit = error.culprit else { return error }
    guard let line = printer.lastLine(of: culprit) else {
      return LaunchError(error.description + " and said nothing", error.kind)
    }
    return LaunchError(error.description + "; its last line:\n" + line, error.kind)
  }

  /// Stops everything in the order in which nobody misses anybody, once; who asks again waits for that to end.
  public func stop(on reactor: isolated Reactor) async {
    if isStopping {
      await ended.wait(until: .never, on: reactor)
      return
    }
    isStopping = true
    if failure == nil { printer.notice("stopping; press Ctrl-C again to end everything at once") }
    for errand in errands { await errand.stop(on: reactor) }
    // Who watches a task is let go by an API process, and until then the balancer waits for that answer to end.
    let isLetGo = Pause()
    let front = Task.immediate(executorPreference: reactor.queue) {
      await self.stop([stack.balancer], on: reactor)
      isLetGo.end()
    }
    await isLetGo.wait(until: reactor.now + Limits.streamsPatience, on: reactor)
    for group in [stack.apis, stack.services, stack.keyServers, stack.workers, [stack.redis], [stack.postgres]] {
      await stop(group, on: reactor)
    }
    await front.value
    unlink(folder.processes)
    printer.settle()
    printer.notice("stopped")
    ended.end()
    reactor.stop()
  }

  private func stop(_ group: [ChildDescription], on reactor: isolated Reactor) async {
    let names = group.map(\.name)
    let members = children.filter { names.contains($0.description.name) }
    for member in members { member.askToStop() }
    for member in members { await member.stop(on: reactor) }
  }

  private func announce() {
    let base = stack.balancer.place
    guard !configuration.logsAreJSON else { return printer.notice("ready \(base)") }
    var text = "\n"
    for child in children {
      let name = child.description.name
      let pid = String(child.pid)
      text += "  \(name)\(spaces(10 - name.count))\(spaces(8 - pid.count))\(pid)   \(child.description.place)\n"
    }
    text += """

      Ready  \(base)

        curl -s '\(base)/hash/md5?wait=5' -H 'Content-Type: application/json' -d '{"string":"hello world"}'
        curl -s \(base)/task/1
        curl -s \(base)/lb/stats


      """
    printer.show(text)
  }

  private func spaces(_ count: Int) -> String { String(repeating: " ", count: max(count, 1)) }
}
