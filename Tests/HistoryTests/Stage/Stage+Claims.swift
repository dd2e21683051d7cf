import Postgres
import Reactor

extension Stage {
  /// How long a claim took and what it brought.
  struct TimedClaim {
    let lane: Int
    let tasks: Int
    let milliseconds: Double
  }

  /// Writes down from now on how long claims take, by PostgreSQL's clock, until the rows that they lease are there.
  func timeClaims(on reactor: isolated Reactor) async throws {
    let steps = [
      "create schema timing",
      """
      create table timing.claim (n bigserial primary key, lane smallint, tasks integer, took float8,
        began timestamptz not null default statement_timestamp())
      """,
      """
      create function timing.of_lease() returns trigger language plpgsql as $$
      begin
        insert into timing.claim (lane, tasks, took) values (new.lane, cardinality(new.ids),
          extract(epoch from clock_timestamp() - statement_timestamp()) * 1000);
        return null;
      end $$
      """,
      "create trigger timing after insert on millrace.lease for each row execute function timing.of_lease()",
    ]
    for step in steps { try await run(step, on: reactor) }
  }

  /// Claims that were timed, but for the first `count`.
  func claims(after count: Int, on reactor: isolated Reactor) async throws -> [TimedClaim] {
    try await texts(
      "select lane || ' ' || tasks || ' ' || took from timing.claim order by n offset \(count)", on: reactor
    ).map { line in
      let parts = line.split(separator: " ")
      return TimedClaim(
        lane: Int(parts[0]) ?? -1, tasks: Int(parts[1]) ?? -1, milliseconds: Double(parts[2]) ?? .infinity)
    }
  }

  /// Puts `count` tasks into the line of md5 at once, as if they had been submitted with `priority`.
  func fillLine(_ count: Int, priority: Int, on reactor: isolated Reactor) async throws {
    try await run(
      """
      with fresh as (
        insert into millrace.task (id, kind, lane, payload)
        select id, 'md5', \(priority), convert_to('filled ' || id, 'UTF8')
        from (select nextval('millrace.task_id') as id from generate_series(1, \(count))) i returning id
      )
      insert into millrace.ready_batch (lane, seq, ids) select \(priority), id, array[id] from fresh
      """, on: reactor)
  }
}

extension [Stage.TimedClaim] {
  /// What a share of the claims did not take longer than, in milliseconds.
  func percentile(_ share: Double) -> Double {
    let times = map(\.milliseconds).sorted()
    return times.isEmpty ? .infinity : times[Swift.min(times.count - 1, Int(Double(times.count) * share))]
  }
}
