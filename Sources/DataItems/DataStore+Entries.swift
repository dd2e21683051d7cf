public import Basics
import Postgres
public import Reactor

/// What people put into the cache itself: it has no other source, ends with its time, and is lost with a crash of
/// PostgreSQL, as a cache may be.
extension DataStore {
  /// Which one of a key's entries one is.
  public struct Mark: Sendable {
    /// Larger than those of all entries before.
    public let version: Int64
    /// A time at which it was there: microseconds since 1970.
    public let stamp: Int64
  }

  /// The entry of `key`, nil if there is none that is still good.
  /// - Throws: `DataError`.
  public func entry(_ key: String, on reactor: isolated Reactor) async throws(DataError) -> Kept? {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    return Kept(try await execute(DataStore.readingEntry, parameters, on: reactor))
  }

  /// Gives `key` an entry for `lifetime`, JSON without NUL characters; all who listen hear that it is another one.
  /// - Throws: `DataError`.
  public func putEntry(
    _ key: String, _ value: [UInt8], for lifetime: TimeSpan, on reactor: isolated Reactor
  ) async throws(DataError) -> Mark {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    parameters.add(text: String(decoding: value, as: UTF8.self))
    parameters.add(lifetime.seconds)
    return Mark(try await execute(DataStore.writingEntry, parameters, on: reactor))
  }

  /// Makes room for an entry of `key` that is kept elsewhere: the one there was is removed, and all who listen hear
  /// that it is another one.
  /// - Throws: `DataError`.
  public func replaceEntry(_ key: String, on reactor: isolated Reactor) async throws(DataError) -> Mark {
    var parameters = PostgresParameters()
    parameters.add(text: key)
    return Mark(try await execute(DataStore.replacingEntry, parameters, on: reactor))
  }

  private static let readingEntry = PostgresStatement(
    "data_read_entry",
    """
    select value::text, extract(epoch from now() - stored_at)::float8, extract(epoch from expires_at - now())::float8,
      version, now()
    from millrace.data_entry where key = $1::text and expires_at > now()
    """)

  /// Two who write one key stand in line for its row, so that the later one has the larger version, and the later time.
  private static let writingEntry = PostgresStatement(
    "data_write_entry",
    """
    with stored as (
      insert into millrace.data_entry as entry (key, value, version, stored_at, expires_at)
      values ($1::text, $2::text::json, nextval('millrace.data_version'), now(),
        now() + make_interval(secs => $3::float8))
      on conflict (key) do update
      set value = excluded.value, version = nextval('millrace.data_version'), stored_at = excluded.stored_at,
        expires_at = excluded.expires_at
      returning version)
    select version, \(DataStore.clock), pg_notify('\(DataChange.channel)', 'e' || version || ' ' || $1::text)
    from stored
    """)

  private static let replacingEntry = PostgresStatement(
    "data_replace_entry",
    """
    with removed as (delete from millrace.data_entry where key = $1::text returning 1),
      numbered as (select nextval('millrace.data_version') as version from (select count(*) from removed) as gone)
    select version, \(DataStore.clock), pg_notify('\(DataChange.channel)', 'e' || version || ' ' || $1::text)
    from numbered
    """)
}

extension DataStore.Mark {
  fileprivate init(_ rows: PostgresResult) {
    self.init(version: rows.int64(0, 0), stamp: rows.int64(0, 1))
  }
}

extension DataStore.Kept {
  /// The first of the rows, nil if there is none.
  init?(_ rows: PostgresResult) {
    guard rows.rowCount > 0, let value = rows.bytes(0, 0) else { return nil }
    self.init(
      value: value, age: .seconds(rows.double(0, 1)), remaining: .seconds(rows.double(0, 2)),
      version: rows.int64(0, 3), stamp: rows.microseconds(0, 4) ?? 0)
  }
}
