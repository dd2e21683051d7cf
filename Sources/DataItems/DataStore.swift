public import Basics
public import Postgres
public import Reactor
public import Telemetry

/// The values, and PostgreSQL's level of the cache before them. It owns its connection. All time is PostgreSQL's clock:
/// ages and lifetimes come and go as lengths.
public final class DataStore {
  /// A value, and which one it is: each change has a version of its own, larger than those before.
  public struct Item: Sendable {
    /// JSON.
    public let value: [UInt8]
    /// Which one it is.
    public let version: Int64
    /// A time at which it was the value of its key, or just before that: microseconds since 1970.
    public let stamp: Int64
  }

  /// A value that was kept.
  public struct Kept: Sendable {
    /// JSON.
    public let value: [UInt8]
    /// How long ago it was the value of its key.
    public let age: TimeSpan
    /// How long it may still be answered.
    public let remaining: TimeSpan
    /// Which one of its key's values it is.
    public let version: Int64
    /// A time at which it was that still, or just before that: microseconds since 1970.
    public let stamp: Int64
  }

  private let client: PostgresClient

  /// A store that connects as soon as `start` is called; `pool` has threads for what blocks.
  public init(_ configuration: PostgresConfiguration, pool: ComputePool, log: Logger, metrics: Metrics) {
    client = PostgresClient(
      DataSchema.fitting(configuration), helpers: PostgresConnection.Helpers(pool: pool), log: log.named("postgres"),
      metrics: metrics)
  }

  /// Begins to connect.
  public func start(on reactor: isolated Reactor) {
    client.start(on: reactor)
  }

  /// Ends the connection for good.
  public func close(on reactor: isolated Reactor) {
    client.close(on: reactor)
  }

  /// The value of `key`, nil if there is none.
  /// - Throws: `DataError`.
  public func item(_ key: String, on reactor: isolated Reactor) async throws(DataError) -> Item? {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    let rows = try await execute(DataStore.reading, parameters, on: reactor)
    guard rows.rowCount > 0, let value = rows.bytes(0, 0) else { return nil }
    return Item(value: value, version: rows.int64(0, 1), stamp: rows.microseconds(0, 2) ?? 0)
  }

  /// Gives `key` a value, JSON without NUL characters; returns after the commit. What was kept of the former one goes
  /// with it, and all who listen hear of it.
  /// - Throws: `DataError`.
  public func put(_ key: String, _ value: [UInt8], on reactor: isolated Reactor) async throws(DataError) {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    parameters.add(text: String(decoding: value, as: UTF8.self))
    _ = try await execute(DataStore.writing, parameters, on: reactor)
  }

  /// What was kept of `key`, nil if nothing that is still good.
  /// - Throws: `DataError`.
  public func kept(_ key: String, on reactor: isolated Reactor) async throws(DataError) -> Kept? {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    return Kept(try await execute(DataStore.readingKept, parameters, on: reactor))
  }

  /// Keeps the value of `key` for `lifetime`, unless it is another one by now than that of `version`, which was read
  /// `age` ago.
  /// - Returns: whether it was kept.
  /// - Throws: `DataError`.
  @discardableResult
  public func keep(
    _ key: String, version: Int64, age: TimeSpan, for lifetime: TimeSpan, on reactor: isolated Reactor
  ) async throws(DataError) -> Bool {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    parameters.add(version)
    parameters.add(age.seconds)
    parameters.add(lifetime.seconds)
    return try await execute(DataStore.keeping, parameters, on: reactor).rowCount > 0
  }

  /// Removes what was kept of `key`, in both spaces, and has all who listen forget it. They are told of a time after
  /// the commit: until then others read what is being removed, at times before that.
  /// - Throws: `DataError`.
  public func forget(_ key: String, on reactor: isolated Reactor) async throws(DataError) {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    for statement in [DataStore.forgetting, DataStore.tellingForgotten] {
      _ = try await execute(statement, parameters, on: reactor)
    }
  }

  /// Removes what was kept of all keys that begin with `prefix`, of all there are if that is empty, in both spaces, and
  /// has all who listen forget whatever they have.
  /// - Throws: `DataError`.
  public func forgetAll(prefix: String, on reactor: isolated Reactor) async throws(DataError) {
    var parameters = PostgresParameters()
    parameters.add(text: prefix)
    _ = try await execute(DataStore.forgettingAll, parameters, on: reactor)
    _ = try await execute(DataStore.tellingAllForgotten, PostgresParameters(), on: reactor)
  }

  /// Removes what was kept and has expired, a part at a time, and tells how many there were.
  /// - Throws: `DataError`.
  @discardableResult
  public func prune(on reactor: isolated Reactor) async throws(DataError) -> Int {
    var pruned = 0
    for statement in [DataStore.pruning, DataStore.pruningEntries] {
      var rows = 0
      repeat {
        rows = try await execute(statement, PostgresParameters(), on: reactor).rowCount
        pruned += rows
      } while rows == Limits.prunedAtOnce
    }
    return pruned
  }

  func execute(
    _ statement: PostgresStatement, _ parameters: PostgresParameters, on reactor: isolated Reactor
  ) async throws(DataError) -> PostgresResult {
    do {
      return try await client.execute(statement, parameters, until: reactor.now + Limits.patience, on: reactor)
    } catch {
      throw DataError(error)
    }
  }

  private static let reading = PostgresStatement(
    "data_read", "select value::text, version, now() from millrace.data_items where key = $1::text")

  private static let writing = PostgresStatement(
    "data_write",
    """
    insert into millrace.data_items (key, value) values ($1::text, $2::text::json)
    on conflict (key) do update set value = excluded.value
    """)

  private static let readingKept = PostgresStatement(
    "data_read_kept",
    """
    select value::text, extract(epoch from now() - loaded_at)::float8, extract(epoch from expires_at - now())::float8,
      version, now()
    from millrace.data_cache where key = $1::text and expires_at > now()
    """)

  /// The lock on the row makes it wait for whoever changes the value, and sees then that it is another one; or else has
  /// that one wait, who then removes what is kept here.
  private static let keeping = PostgresStatement(
    "data_keep",
    """
    insert into millrace.data_cache (key, value, version, loaded_at, expires_at)
    select key, value, version, now() - make_interval(secs => $3::float8), now() + make_interval(secs => $4::float8)
    from millrace.data_items where key = $1::text and version = $2::bigint for share
    on conflict (key) do update
    set value = excluded.value, version = excluded.version, loaded_at = excluded.loaded_at,
      expires_at = excluded.expires_at
    returning 1
    """)

  private static let forgetting = PostgresStatement(
    "data_forget",
    """
    with forgotten as (delete from millrace.data_cache where key = $1::text)
    delete from millrace.data_entry where key = $1::text
    """)

  private static let tellingForgotten = PostgresStatement(
    "data_tell_forgotten", "select pg_notify('\(DataChange.channel)', 'i' || \(clock) || ' ' || $1::text)")

  private static let forgettingAll = PostgresStatement(
    "data_forget_all",
    """
    with forgotten as (delete from millrace.data_cache where starts_with(key, $1::text))
    delete from millrace.data_entry where starts_with(key, $1::text)
    """)

  private static let tellingAllForgotten = PostgresStatement(
    "data_tell_all_forgotten", "select pg_notify('\(DataChange.channel)', 'a' || \(clock))")

  /// PostgreSQL's time, in microseconds since 1970.
  static let clock = "(extract(epoch from clock_timestamp()) * 1000000)::bigint"

  private static let pruning = pruning("data_prune", "millrace.data_cache")
  private static let pruningEntries = pruning("data_prune_entries", "millrace.data_entry")

  private static func pruning(_ name: String, _ table: String) -> PostgresStatement {
    PostgresStatement(
      name,
      """
      delete from \(table) where key in (
        select key from \(table) where expires_at <= now() limit \(Limits.prunedAtOnce) for update skip locked)
      returning 1
      """)
  }
}
