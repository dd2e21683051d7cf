public import Basics
public import Postgres
public import Reactor
public import Telemetry

/// Partitions as rows in PostgreSQL: past one machine, where no kernel's lock says whose they are. Any server may serve
/// any key; whoever changes a partition locks its row, so changes are in one order, and nothing is kept in memory. All
/// time is PostgreSQL's clock. It owns its connections.
public final class PostgresEngine: StoreEngine {
  private let client: PostgresClient
  private let partitions: Int
  private let maxVersions: Int64

  /// An engine that connects as soon as `start` is called; `pool` has threads for what blocks.
  public init(
    _ configuration: PostgresConfiguration, partitions: Int, maxVersions: Int, pool: ComputePool, log: Logger,
    metrics: Metrics
  ) {
    (self.partitions, self.maxVersions) = (partitions, Int64(maxVersions))
    client = PostgresClient(
      StoreSchema.fitting(configuration), helpers: PostgresConnection.Helpers(pool: pool), log: log.named("postgres"),
      metrics: metrics)
  }

  /// Begins to connect: a commit does not keep reads waiting that come behind it on another connection.
  public func start(on reactor: isolated Reactor) {
    client.start(width: Limits.postgresConnections, on: reactor)
  }

  /// Ends the connections for good.
  public func end(on reactor: isolated Reactor) { client.close(on: reactor) }

  /// Other servers change what is open here.
  public var isShared: Bool { true }

  /// The connection, or the tables behind it.
  public var missing: String? { client.refusal.map { $0.isOfSchema ? "the schema" : "PostgreSQL" } }

  /// Nobody has to be asked.
  public func open(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Int64 {
    let rows = try await execute(PostgresEngine.opening, partition, on: reactor)
    guard rows.rowCount == 1 else { throw .foreign("there is no partition \(partition) in PostgreSQL") }
    return rows.int64(0, 0)
  }

  /// Nobody waits for it.
  public func close(_ partition: Int, on reactor: isolated Reactor) async {}

  /// All have all.
  public func holders(on reactor: isolated Reactor) async -> [String?] { Array(repeating: nil, count: partitions) }

  /// One statement, which is one transaction.
  public func write(
    _ changes: [Change], to partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (outcomes: [ChangeOutcome], revision: Int64) {
    let rows = try await execute(PostgresEngine.applying, partition, on: reactor) { parameters in
      let steps = changes.enumerated().flatMap { index, change in change.steps.map { (index: index, step: $0) } }
      parameters.add(maxVersions)
      parameters.add(steps.map { Int64($0.index) })
      parameters.add(byteArrays: steps.map { $0.step.key.bytes })
      parameters.add(steps.map { $0.step.action.number })
      parameters.add(byteArrays: steps.map { $0.step.action.value })
      parameters.add(steps.map { $0.step.action.lifetimeUs })
      parameters.add(texts: steps.map { $0.step.condition.match?.text })
      parameters.add(texts: steps.map { $0.step.condition.noneMatch?.text })
      parameters.add(byteArrays: changes.map { $0.name?.name })
      parameters.add(byteArrays: changes.map { $0.name?.fingerprint })
    }
    guard rows.rowCount == changes.count else { throw .failed("PostgreSQL answered \(rows.rowCount) changes") }
    var outcomes: [ChangeOutcome] = []
    outcomes.reserveCapacity(changes.count)
    for row in 0..<rows.rowCount { outcomes.append(try PostgresEngine.outcome(rows, row)) }
    return (outcomes, rows.int64(rows.rowCount - 1, 8))
  }

  private static func outcome(_ rows: PostgresResult, _ row: Int) throws(StoreError) -> ChangeOutcome {
    let step = rows.isNull(row, 1) ? 0 : Int(rows.int64(row, 1))
    switch rows.int64(row, 0) {
    case 2: return .refused(step: step, current: rows.isNull(row, 3) ? nil : version(rows, row, from: 3))
    case 3: return .missing(step: step)
    case 4: return .conflict
    case let kind:
      let results = (rows.text(row, 2) ?? "").split(separator: "\n").compactMap { StepResult(text: $0) }
      guard !results.isEmpty else { throw .failed("PostgreSQL's answer to a change cannot be read") }
      return .done(results, isReplayed: kind == 1)
    }
  }

  /// A version in the columns from `column` on: version, revision, created, expires, value.
  static func version(_ rows: PostgresResult, _ row: Int, from column: Int) -> StoredVersion {
    StoredVersion(
      version: rows.int64(row, column), revision: rows.int64(row, column + 1),
      timestamp: Timestamp(microseconds: rows.int64(row, column + 2)),
      expiry: rows.isNull(row, column + 3) ? nil : Timestamp(microseconds: rows.int64(row, column + 3)),
      value: rows.bytes(row, column + 4))
  }

  /// A version.
  public func lookUp(
    _ key: StoreKey, version: Int64?, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> Lookup {
    let rows = try await execute(PostgresEngine.looking, partition, on: reactor) { parameters in
      parameters.add(byteArrays: [key.bytes])
      // No version is that of nobody: it stands for the newest.
      parameters.add(version ?? 0)
    }
    guard rows.rowCount > 0 else { return .none }
    if !rows.isNull(0, 2) { return .found(PostgresEngine.version(rows, 0, from: 2)) }
    guard let version, version < rows.int64(0, 1) else { return .none }
    return .compacted(oldest: rows.int64(0, 1))
  }

  /// Versions of a key.
  public func history(
    _ key: StoreKey, before: Int64?, limit: Int, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [StoredVersion] {
    let rows = try await execute(PostgresEngine.past, partition, on: reactor) { parameters in
      parameters.add(byteArrays: [key.bytes])
      parameters.add(before ?? .max)
      parameters.add(Int64(limit))
      parameters.add(Int64(Limits.pageBytesMax))
    }
    return (0..<rows.rowCount).map { PostgresEngine.version(rows, $0, from: 0) }
  }

  /// Keys.
  public func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [KeyEntry] {
    let rows = try await execute(PostgresEngine.listing, partition, on: reactor) { parameters in
      parameters.add(byteArrays: [range.prefix, range.end, after?.bytes ?? []])
      parameters.add(Int64(limit))
    }
    return (0..<rows.rowCount).compactMap { row in
      guard let key = rows.bytes(row, 0).flatMap({ StoreKey(utf8: $0) }) else { return nil }
      return KeyEntry(
        key: key, version: rows.int64(row, 1), timestamp: Timestamp(microseconds: rows.int64(row, 2)))
    }
  }

  /// What has happened.
  public func events(
    in range: KeyRange, since: Int64, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage {
    let rows = try await execute(PostgresEngine.news, partition, on: reactor) { parameters in
      parameters.add(byteArrays: [range.prefix, range.end])
      // A client may name any number.
      parameters.add(min(since, .max - Int64(Limits.eventsPerLook)))
      parameters.add(Int64(Limits.eventsPerLook))
      parameters.add(Int64(Limits.pageBytesMax))
    }
    guard rows.rowCount > 0 else { throw .foreign("there is no partition \(partition) in PostgreSQL") }
    let (newest, compacted) = (rows.int64(0, 0), rows.int64(0, 1))
    if since > newest { return EventPage(events: [], through: newest, hasGap: true) }
    var events: [StoreEvent] = []
    for row in 0..<rows.rowCount where !rows.isNull(row, 4) {
      guard let key = rows.bytes(row, 3).flatMap({ StoreKey(utf8: $0) }) else { continue }
      events.append(StoreEvent(key: key, version: PostgresEngine.version(rows, row, from: 4)))
    }
    // What did not fit into the page is behind its last event.
    let isCut = rows.int64(0, 2) > Int64(events.count)
    let through = isCut ? events.last?.version.revision : nil
    return EventPage(
      events: events, through: through ?? min(newest, since + Int64(Limits.eventsPerLook)), hasGap: since < compacted)
  }

  /// Values past their time.
  public func expired(
    in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (keys: [StoreKey], next: Timestamp?) {
    let rows = try await execute(PostgresEngine.expiring, partition, on: reactor) { parameters in
      parameters.add(Int64(Limits.expiriesPerCommit))
    }
    let keys = (0..<rows.rowCount).compactMap { rows.bytes($0, 1).flatMap { StoreKey(utf8: $0) } }
    // A clock of another machine says when the next one ends: how far that is away is what counts here.
    guard rows.rowCount > 0, !rows.isNull(0, 0) else { return (keys, nil) }
    return (keys, Timestamp(microseconds: Timestamp.current().microseconds + max(0, rows.int64(0, 0))))
  }

  /// Counts rows; the bytes are those of all partitions, and told with the first.
  public func figures(of partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> PartitionFigures {
    let rows = try await execute(PostgresEngine.counting, partition, on: reactor)
    var figures = PartitionFigures()
    (figures.keys, figures.versions) = (rows.int64(0, 0), rows.int64(0, 1))
    figures.fileBytes = rows.int64(0, 2)
    return figures
  }

  /// Forgets the names of changes that are old enough.
  public func tidy(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Bool {
    let rows = try await execute(PostgresEngine.forgetting, partition, on: reactor) { parameters in
      parameters.add(Int64(Limits.namesKept.nanoseconds / 1000))
      parameters.add(Int64(Limits.namesForgottenAtOnce))
    }
    return rows.int64(0, 0) == Int64(Limits.namesForgottenAtOnce)
  }

  private func execute(
    _ statement: PostgresStatement, _ partition: Int, on reactor: isolated Reactor,
    _ add: (inout PostgresParameters) -> Void = { _ in }
  ) async throws(StoreError) -> PostgresResult {
    var parameters = PostgresParameters()
    parameters.add(Int32(partition))
    add(&parameters)
    do throws(PostgresError) {
      return try await client.execute(statement, parameters, until: reactor.now + Limits.patience, on: reactor)
    } catch {
      throw StoreError(error)
    }
  }
}

extension Change.Action {
  /// As the function `kv_apply` counts them.
  fileprivate var number: Int16 {
    switch self {
    case .put: 0
    case .delete: 1
    case .purge: 2
    case .expire: 3
    }
  }

  fileprivate var value: [UInt8]? { if case .put(let value, _) = self { value } else { nil } }

  /// -1 for ever.
  fileprivate var lifetimeUs: Int64 {
    if case .put(_, let lifetime?) = self { Int64(lifetime.nanoseconds / 1000) } else { -1 }
  }
}

extension Condition.Versions {
  fileprivate var text: String {
    switch self {
    case .any: "*"
    case .these(let versions): "," + versions.map { "\($0)," }.joined()
    }
  }
}
