import API
import Backends
import Basics
import Glibc
import Hashing
import Reactor
import TaskQueue
import Tasks
import Telemetry
import Tokens
import Worker

/// Starts the roles that serve and compute tasks.
enum TaskRoles {
  /// Runs an API process until a signal stops it.
  /// - Throws: `CommandError`.
  static func runAPI(_ configuration: Configuration) throws(CommandError) {
    let log = configuration.logger("api")
    let api = try planAPI(configuration, log)
    try run(log, listens: api.endpoints, flag: "--listen") { (log) throws(SystemError) in
      try APIProcess.run(api, log: log, metrics: Metrics())
    }
  }

  /// What an API process that was told this does; `log` is for what it finds of its configuration later.
  /// - Throws: `CommandError` if it cannot do that.
  static func planAPI(_ configuration: Configuration, _ log: Logger? = nil) throws(CommandError) -> APIConfiguration {
    var api = APIConfiguration(secret: try configuration.secret())
    api.instance = configuration.text(.gatewayId) ?? HostName.own
    api.endpoints = try configuration.addresses()
    guard !api.endpoints.isEmpty else { throw .configuration("nowhere to listen: --listen 127.0.0.1:8080") }
    api.queue.postgres = configuration.postgres
    api.retention = .seconds(UInt64(configuration.integer(.resultRetention)))
    api.redis = try configuration.redis(clientName: api.instance)
    api.cacheTTL = .seconds(UInt64(configuration.integer(.cacheTTL)))
    api.l1EntriesMax = configuration.integer(.cacheEntries)
    api.memoryBytes = configuration.integer(.memoryMiB) << 20
    api.l1BytesMax = api.memoryBytes / 4
    if let cacheMiB = configuration.text(.cacheMiB).flatMap({ Int($0) }) {
      guard cacheMiB << 20 <= api.l1BytesMax else {
        throw .configuration("the cache may have a quarter of MILLRACE_MEMORY_MIB, not \(cacheMiB) MiB")
      }
      api.l1BytesMax = cacheMiB << 20
    }
    api.waitersMax = configuration.text(.waitersMax).flatMap { Int($0) } ?? waitersMax(apis: 1)
    api.parameters.argon2.memoryKiB = UInt32(configuration.integer(.argon2MemoryKiB))
    let (services, names) = try configuration.backends(.services)
    if !services.isEmpty || !names.isEmpty {
      var plan = BackendPlan(services, names: names, agent: "millrace-api", metricsPrefix: "millrace_services")
      plan.inFlightMax = API.Limits.serviceInFlightMax
      api.services = plan
    }
    api.dataDelay = .milliseconds(UInt64(configuration.integer(.dataDelay)))
    api.servicePatience = .seconds(configuration.decimal(.serviceTimeout))
    api.adminToken = configuration.text(.adminToken)
    api.trustsLoopback = configuration.isOn(.adminTrustLoopback)
    api.tokens = try configuration.tokens(log)
    api.tokenLifetimeSeconds = configuration.integer(.tokenTTL)
    api.issuesTokens = configuration.isOn(.tokenEndpoint)
    guard !api.issuesTokens || api.tokens?.canSign == true else {
      throw .configuration(
        "TOKEN_ENDPOINT: there is no key that signs; make one with 'millrace token rotate --token-keys-file token.keys'"
          + " and set TOKEN_KEYS_FILE=token.keys")
    }
    return api
  }

  /// How many clients may wait in each of `apis` API processes that each may have `descriptors`, as their balancer may.
  /// Each client keeps two of the balancer's for as long as it waits, and something has to be left for those who do
  /// not, and for what is no client.
  static func waitersMax(apis: Int, descriptors: Int = DescriptorLimit.most) -> Int {
    min(max(1, (descriptors - descriptorsKept) / 5 * 2 / apis), waitersMost)
  }

  private static let descriptorsKept = 200
  /// The most that may be asked for.
  static let waitersMost = 1_000_000

  /// Runs a worker until a signal stops it.
  /// - Throws: `CommandError`.
  static func runWorker(_ configuration: Configuration) throws(CommandError) {
    let worker = try planWorker(configuration)
    try run(configuration.logger("worker"), listens: worker.endpoints, flag: "--listen") { (log) throws(SystemError) in
      try WorkerProcess.run(worker, log: log, metrics: Metrics())
    }
  }

  /// What a worker that was told this does.
  /// - Throws: `CommandError` if it cannot do that.
  static func planWorker(_ configuration: Configuration) throws(CommandError) -> WorkerConfiguration {
    var worker = WorkerConfiguration(secret: try configuration.secret())
    worker.name = configuration.text(.workerName) ?? HostName.own
    worker.endpoints = try configuration.addresses()
    worker.queue.postgres = configuration.postgres
    worker.retention = .seconds(UInt64(configuration.integer(.resultRetention)))
    worker.redis = try configuration.redis(clientName: worker.name)
    worker.resultTTL = .seconds(UInt64(configuration.integer(.cacheTTL)))
    worker.heavySlots = configuration.integer(.heavySlots)
    worker.parameters.argon2 = Argon2Parameters(
      passes: UInt32(configuration.integer(.argon2TimeCost)),
      memoryKiB: UInt32(configuration.integer(.argon2MemoryKiB)),
      parallelism: UInt32(configuration.integer(.argon2Parallelism)))
    // Each number is within its bounds: what is left is that of memory for each thread.
    guard worker.parameters.argon2.isValid else {
      throw .configuration(
        "ARGON2_MEMORY_KIB: argon2 needs at least 8 KiB of memory for each thread, so "
          + "\(8 * worker.parameters.argon2.parallelism) for ARGON2_PARALLELISM "
          + "\(worker.parameters.argon2.parallelism), and not \(worker.parameters.argon2.memoryKiB)")
    }
    worker.memoryBytes = configuration.integer(.memoryMiB) << 20
    worker.argon2BytesMax = configuration.integer(.argon2MemoryBudgetMiB) << 20
    guard worker.parameters.argon2.bytes <= worker.argon2BytesMax else {
      throw .configuration(
        "ARGON2_MEMORY_BUDGET_MIB: one argon2 task takes \(worker.parameters.argon2.memoryKiB) KiB of memory, which is "
          + "more than all of them may take together")
    }
    return worker
  }

  /// Runs `body`, which listens on `listens` as `flag` has told it, and sees to it that the last lines of its log are
  /// written.
  static func run(
    _ log: Logger, listens: [SocketAddress], flag: String, _ body: (Logger) throws(SystemError) -> Void
  ) throws(CommandError) {
    defer { log.flush() }
    do {
      try body(log)
    } catch {
      let places = listens.map(\.description).joined(separator: " or ")
      let message =
        "\(error.call)" == "bind"
        ? "cannot listen on \(places): \(String(cString: strerror(error.code))); see \(flag)" : "cannot start: \(error)"
      throw CommandError(message: message, exitCode: ExitCode.failure)
    }
  }
}
