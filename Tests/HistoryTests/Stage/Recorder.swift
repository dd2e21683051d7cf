import Basics
import Postgres
import Reactor

/// Writes down what every transaction does to the queue, in the transaction itself: triggers that only these tests
/// have. What is rolled back or lost in a crash was never written.
enum Recorder {
  /// SQL that is run once, behind the migrations. Who did it is told by the name of the session, which is each
  /// process's own. Of a task that is over, every update is written down, also one that changes nothing. Of those that
  /// share a row of the line each one's number is its place.
  static let setUp = """
    create schema history;
    create table history.change (
      n bigserial primary key, xid bigint not null default pg_current_xact_id()::text::bigint,
      by text not null default current_setting('application_name'),
      began timestamptz not null default statement_timestamp(), ended timestamptz not null default clock_timestamp(),
      what text not null, task bigint, number bigint, seq bigint, ids bigint[],
      state_before smallint, attempt_before smallint, outcome_before text,
      state smallint, attempt smallint, outcome text);
    create function history.text(b bytea, t text) returns text language sql immutable as
      $$ select coalesce(convert_from(b, 'UTF8'), t, '') $$;
    create function history.of_task() returns trigger language plpgsql as $$
    begin
      if tg_op = 'INSERT' then
        insert into history.change (what, task, number, outcome)
          values ('inserted', new.id, new.lane, history.text(new.payload, null));
      elsif tg_op = 'DELETE' then
        insert into history.change (what, task) values ('removed', old.id);
      elsif old.state <> 0 or new.state <> 0 or new.attempt <> old.attempt
        or new.error is distinct from old.error or new.result is distinct from old.result
      then
        insert into history.change (what, task, state_before, attempt_before, outcome_before, state, attempt, outcome)
          values ('updated', new.id, old.state, old.attempt, history.text(old.result, old.error),
            new.state, new.attempt, history.text(new.result, new.error));
      end if;
      return null;
    end $$;
    create function history.of_place() returns trigger language plpgsql as $$
    begin
      if tg_op = 'INSERT' then
        insert into history.change (what, task, number, seq)
          select 'placed', id, new.lane, case when cardinality(new.ids) = 1 then new.seq else id end
          from unnest(new.ids) as u (id);
      else
        insert into history.change (what, task, number, seq)
          select 'taken', id, old.lane, case when cardinality(old.ids) = 1 then old.seq else id end
          from unnest(old.ids) as u (id) where tg_op = 'DELETE' or id <> all(new.ids);
      end if;
      return null;
    end $$;
    create function history.of_schedule() returns trigger language plpgsql as $$
    begin
      if tg_op = 'INSERT' then
        insert into history.change (what, task) values ('postponed', new.id);
      else
        insert into history.change (what, task) values ('recalled', old.id);
      end if;
      return null;
    end $$;
    create function history.of_lease() returns trigger language plpgsql as $$
    begin
      if tg_op = 'INSERT' then
        insert into history.change (what, number, ids, seq) values ('leased', new.id, new.ids, new.worker_id);
      elsif tg_op = 'UPDATE' then
        insert into history.change (what, number, ids) values ('cut', new.id, new.ids);
      else
        insert into history.change (what, number) values ('ended', old.id);
      end if;
      return null;
    end $$;
    create trigger history after insert or update or delete on millrace.task
      for each row execute function history.of_task();
    create trigger history after insert or update or delete on millrace.ready_batch
      for each row execute function history.of_place();
    create trigger history after insert or delete on millrace.scheduled
      for each row execute function history.of_schedule();
    create trigger history after insert or update or delete on millrace.lease
      for each row execute function history.of_lease();
    """

  /// Commits in their order: those that had to wait for each other are apart by their times, and by `n` if the clock
  /// did not move.
  private static let statement = PostgresStatement(
    "history_read",
    """
    select xid::text, by, began, at, what, coalesce(task, 0), coalesce(number, 0), coalesce(seq, 0),
      array_to_string(ids, ','), coalesce(state_before, 0::smallint), coalesce(attempt_before, 0::smallint),
      coalesce(outcome_before, ''), coalesce(state, 0::smallint), coalesce(attempt, 0::smallint), coalesce(outcome, '')
    from (select *, pg_xact_commit_timestamp(xid::text::xid) as at, min(n) over (partition by xid) as first
      from history.change) c
    order by at, first, n
    """)

  /// What was written down.
  static func read(_ connection: PostgresConnection, on reactor: isolated Reactor) async throws -> [History.Commit] {
    let result = try await connection.execute(statement, until: reactor.now + .seconds(60 as UInt64), on: reactor)
    var commits: [History.Commit] = []
    var last: String?
    for row in 0..<result.rowCount {
      let began = result.microseconds(row, 2) ?? 0
      if result.text(row, 0) != last {
        last = result.text(row, 0)
        commits.append(
          History.Commit(
            by: result.text(row, 1) ?? "", began: began, at: result.microseconds(row, 3) ?? 0, changes: []))
      }
      commits[commits.count - 1].began = began
      commits[commits.count - 1].changes.append(try change(result, row))
    }
    return commits
  }

  private static func change(_ result: PostgresResult, _ row: Int) throws -> History.Change {
    let (task, number, seq) = (result.int64(row, 5), result.int64(row, 6), result.int64(row, 7))
    let ids = (result.text(row, 8) ?? "").split(separator: ",").compactMap { Int64($0) }
    func state(_ column: Int) throws -> History.Row {
      guard let state = History.State(rawValue: Int(result.int16(row, column))) else {
        throw StageError("task \(task) has the state \(result.int16(row, column))")
      }
      return History.Row(
        state: state, attempt: Int(result.int16(row, column + 1)), outcome: result.text(row, column + 2) ?? "")
    }
    switch result.text(row, 4) ?? "" {
    case "inserted": return .inserted(task: task, name: result.text(row, 14) ?? "")
    case "removed": return .removed(task: task)
    case "updated": return .updated(task: task, from: try state(9), to: try state(12))
    case "placed": return .placed(task: task, lane: Int(number), seq: seq)
    case "taken": return .taken(task: task, lane: Int(number), seq: seq)
    case "postponed": return .postponed(task: task)
    case "recalled": return .recalled(task: task)
    case "leased": return .leased(lease: number, tasks: ids)
    case "cut": return .cut(lease: number, left: ids)
    case "ended": return .ended(lease: number)
    case let other: throw StageError("the record has \(other)")
    }
  }
}

/// Why a test could not go on.
struct StageError: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}
