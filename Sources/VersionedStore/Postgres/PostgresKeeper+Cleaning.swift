import Basics
import Postgres
public import Reactor

/// Removing what nobody needs any more. Servers go on beside it: a partition is locked for a few keys at a time.
extension PostgresKeeper {
  /// How much there is in all partitions, and what of that nobody needs any more.
  /// - Throws: `StoreError`.
  public func survey(
    maxVersions: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (figures: PartitionFigures, waste: StoreWaste) {
    var (figures, waste) = (PartitionFigures(), StoreWaste())
    for partition in 0..<partitions {
      let counted = try await execute(PostgresEngine.counting, of: partition, on: reactor)
      figures.keys += counted.int64(0, 0)
      figures.versions += counted.int64(0, 1)
      figures.fileBytes += counted.int64(0, 2)
      let found = try await execute(PostgresKeeper.wasting, of: partition, on: reactor) { parameters in
        parameters.add(Int64(maxVersions))
        parameters.add(Int64(Limits.namesKept.nanoseconds / 1000))
      }
      waste.versions += found.int64(0, 0)
      waste.bytes += found.int64(0, 1)
      waste.names += found.int64(0, 2)
    }
    return (figures, waste)
  }

  /// Removes it. The space goes to what comes next; PostgreSQL's own `vacuum full` would give it back.
  /// - Throws: `StoreError`: some of it may be gone.
  public func clean(maxVersions: Int, on reactor: isolated Reactor) async throws(StoreError) {
    for partition in 0..<partitions {
      var count: Int64
      repeat {
        let done = try await execute(PostgresKeeper.compacting, of: partition, on: reactor) { parameters in
          parameters.add(Int64(maxVersions))
          parameters.add(Int64(Limits.expiriesPerCommit))
        }
        count = done.int64(0, 0)
      } while count > 0
      repeat {
        let done = try await execute(PostgresEngine.forgetting, of: partition, on: reactor) { parameters in
          parameters.add(Int64(Limits.namesKept.nanoseconds / 1000))
          parameters.add(Int64(Limits.namesForgottenAtOnce))
        }
        count = done.int64(0, 0)
      } while count > 0
    }
  }

  private func execute(
    _ statement: PostgresStatement, of partition: Int, on reactor: isolated Reactor,
    _ add: (inout PostgresParameters) -> Void = { _ in }
  ) async throws(StoreError) -> PostgresResult {
    var parameters = PostgresParameters()
    parameters.add(Int32(partition))
    add(&parameters)
    return try await execute(statement, parameters, on: reactor)
  }

  private static let wasting = PostgresStatement(
    "kv_waste",
    """
    select count(*), coalesce(sum(length(v.value)), 0)::bigint,
      (select count(*) from millrace.kv_change where partition = $1::integer
        and created < millrace.kv_clock() - $3::bigint)
    from millrace.kv_item i join millrace.kv_version v on v.item = i.id
    where i.partition = $1::integer and v.version < case when i.is_live then i.latest - $2::bigint + 1 else i.latest end
    """)

  /// The lock on the partition's row is waited for first, by a statement of its own snapshot: what a server has changed
  /// meanwhile is only newer, so what was past its use still is.
  private static let compacting = PostgresStatement(
    "kv_compact",
    """
    with part as materialized (select number from millrace.kv_partition where number = $1::integer for update),
    due as materialized (
      select i.id, case when i.is_live then i.latest - $2::bigint + 1 else i.latest end as first
      from millrace.kv_item i join part on i.partition = part.number
      where i.oldest < case when i.is_live then i.latest - $2::bigint + 1 else i.latest end
      limit $3::bigint),
    gone as (
      delete from millrace.kv_version v using due where v.item = due.id and v.version < due.first
      returning v.revision),
    kept as (
      update millrace.kv_item i set oldest = greatest(i.oldest, due.first) from due where i.id = due.id returning 1),
    noted as (
      update millrace.kv_partition set compacted = greatest(compacted, (select max(revision) from gone))
      where number = $1::integer and exists (select from gone) returning 1)
    select count(*) from kept
    """)
}
