import Basics
public import Postgres
public import Reactor
public import Telemetry

/// What tools do with a store in PostgreSQL: take it out as lines and put lines in, over one connection.
public final class PostgresKeeper {
  private let connection: PostgresConnection
  let partitions: Int

  /// Connects to the store of `configuration`, which is made with `partitions` partitions if there is none.
  /// - Parameter isWish: whether there must be so many.
  /// - Throws: `StoreError`.
  public static func connect(
    _ configuration: PostgresConfiguration, partitions: Int, isWish: Bool, pool: ComputePool, log: Logger,
    on reactor: isolated Reactor
  ) async throws(StoreError) -> PostgresKeeper {
    let count = try await StoreSchema.partitions(
      configuration, wished: partitions, isWish: isWish, pool: pool, log: log, on: reactor)
    do throws(PostgresError) {
      let connection = try await PostgresConnection.connectPatiently(
        configuration, helpers: PostgresConnection.Helpers(pool: pool), log: log, on: reactor)
      return PostgresKeeper(connection, count)
    } catch {
      throw StoreError(error)
    }
  }

  private init(_ connection: PostgresConnection, _ partitions: Int) {
    (self.connection, self.partitions) = (connection, partitions)
  }

  /// Ends the connection.
  public func close(on reactor: isolated Reactor) { connection.close(on: reactor) }

  /// Calls `body` with every version of every key, as it is when its turn comes.
  /// - Throws: `StoreError`.
  public func forEachLine(_ body: (ArchiveLine) -> Void, on reactor: isolated Reactor) async throws(StoreError) {
    for partition in 0..<partitions {
      var (key, version): ([UInt8], Int64) = ([], 0)
      while true {
        var parameters = PostgresParameters()
        parameters.add(Int32(partition))
        parameters.add(byteArrays: [key])
        parameters.add(version)
        parameters.add(Int64(Limits.pageMax))
        parameters.add(Int64(Limits.pageBytesMax))
        let rows = try await execute(PostgresKeeper.taking, parameters, on: reactor)
        guard rows.rowCount > 0 else { break }
        for row in 0..<rows.rowCount {
          key = rows.bytes(row, 0) ?? []
          guard let its = StoreKey(utf8: key) else { throw .damaged("a key in PostgreSQL is none") }
          let found = PostgresEngine.version(rows, row, from: 1)
          version = found.version
          body(
            ArchiveLine(
              key: its,
              version: StoredVersion(
                version: found.version, revision: 0, timestamp: found.timestamp, expiry: found.expiry,
                value: found.value)))
        }
      }
    }
  }

  /// Puts lines in as `next` gives them, until it gives nil. None of their keys may be there.
  /// - Returns: how many there were.
  /// - Throws: `StoreError`: of the lines before the one that it speaks of some may have been put in.
  public func fill(
    _ next: () throws(StoreError) -> ArchiveLine?, on reactor: isolated Reactor
  ) async throws(StoreError) -> Int {
    var waiting: [Int: [(line: ArchiveLine, isFirst: Bool)]] = [:]
    var bytes = 0
    var count = 0
    var last: ArchiveLine?
    while let line = try next() {
      let isFirst = last?.key != line.key
      if let last, !isFirst, line.version.version != last.version.version + 1 {
        throw .foreign("line \(count + 1): the versions of a key have a gap")
      }
      waiting[Placement.partition(of: line.key, of: partitions), default: []].append((line, isFirst))
      bytes += line.version.value?.count ?? 0
      last = line
      count += 1
      if count.isMultiple(of: Limits.changesPerCommit) || bytes >= Limits.bytesPerCommit {
        try await put(&waiting, on: reactor)
        bytes = 0
      }
    }
    try await put(&waiting, on: reactor)
    return count
  }

  private func put(
    _ waiting: inout [Int: [(line: ArchiveLine, isFirst: Bool)]], on reactor: isolated Reactor
  ) async throws(StoreError) {
    for (partition, lines) in waiting {
      var parameters = PostgresParameters()
      parameters.add(Int32(partition))
      parameters.add(byteArrays: lines.map { $0.line.key.bytes })
      parameters.add(lines.map { $0.line.version.version })
      parameters.add(lines.map { $0.isFirst ? 1 : 0 } as [Int16])
      parameters.add(lines.map { $0.line.version.timestamp.microseconds })
      // The largest number stands for never.
      parameters.add(lines.map { $0.line.version.expiry?.microseconds ?? .max })
      parameters.add(byteArrays: lines.map { $0.line.version.value })
      let rows = try await execute(PostgresKeeper.putting, parameters, on: reactor)
      if let key = rows.text(0, 0) { throw .foreign("a key is there already: \(key)") }
    }
    waiting.removeAll(keepingCapacity: true)
  }

  func execute(
    _ statement: PostgresStatement, _ parameters: PostgresParameters, on reactor: isolated Reactor
  ) async throws(StoreError) -> PostgresResult {
    do throws(PostgresError) {
      return try await connection.execute(statement, parameters, on: reactor)
    } catch {
      throw StoreError(error)
    }
  }

  private static let taking = PostgresStatement(
    "kv_take_out",
    """
    select key, version, revision, created, expires, value from (
      select page.*, sum(coalesce(length(value), 0)) over (order by key, version) - coalesce(length(value), 0) as before
      from (
        select i.key, v.version, v.revision, v.created, v.expires, v.value
        from millrace.kv_item i join millrace.kv_version v on v.item = i.id
        where i.partition = $1::integer and (i.key, v.version) > (($2::bytea[])[1], $3::bigint)
        order by i.key, v.version limit $4::bigint
      ) page
    ) cut where before < $5::bigint order by key, version
    """)

  private static let putting = PostgresStatement(
    "kv_put_in",
    """
    select millrace.kv_fill($1::integer, $2::bytea[], $3::bigint[], $4::smallint[], $5::bigint[], $6::bigint[],
      $7::bytea[])
    """)
}
