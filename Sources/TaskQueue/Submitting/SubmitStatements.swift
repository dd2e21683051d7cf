import Basics
import Postgres

/// Statements that put tasks into the queue, or find that they are there.
enum SubmitStatements {
  static func submit(_ submissions: [Submission]) -> (PostgresStatement, PostgresParameters) {
    var parameters = parameters(submissions)
    // Almost always there is nothing of that, and then it is not sent.
    if submissions.allSatisfy({ $0.runAt == nil && $0.fingerprint == nil }) { return (submit, parameters) }
    addWishes(of: submissions, to: &parameters)
    return (submitWithWishes, parameters)
  }

  /// The same where the keys' tasks, `stale`, are not to be found any more or over without a result; 0 for none.
  static func replace(
    _ submissions: [Submission], stale: [Int64]
  ) -> (PostgresStatement, PostgresParameters) {
    var parameters = parameters(submissions)
    addWishes(of: submissions, to: &parameters)
    parameters.add(stale)
    return (replace, parameters)
  }

  static func find(_ submissions: [Submission]) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(uuids: submissions.map { $0.key?.words })
    parameters.add(uuids: submissions.map { $0.fingerprint?.words })
    return (find, parameters)
  }

  static func findPast(_ ids: [Int64]) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(ids)
    return (findPast, parameters)
  }

  /// What workers are to be told of `submissions`: as many are woken as the tasks are worth.
  static func words(_ submissions: [Submission]) -> [Teller.Word] {
    Dictionary(grouping: submissions) { $0.group }.map { group, tasks in
      let perWakeUp = tasks[0].tasksPerWakeUp
      return Teller.Word(group: group, tasks: tasks.count, workers: (tasks.count + perWakeUp - 1) / perWakeUp)
    }
  }

  /// Tells all workers that a task is due in `milliseconds`.
  static func due(inMilliseconds milliseconds: UInt64) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(text: "due:\(milliseconds)")
    return (notifyAll, parameters)
  }

  static let makePartitions = PostgresStatement("queue_ensure_partitions", "select millrace.ensure_partitions()")

  private static func parameters(_ submissions: [Submission]) -> PostgresParameters {
    var parameters = PostgresParameters()
    parameters.add(texts: submissions.map(\.kind))
    parameters.add(submissions.map(\.lane.number))
    parameters.add(byteArrays: submissions.map(\.payload))
    parameters.add(uuids: submissions.map { $0.key?.words })
    parameters.add(submissions.map(\.maxAttempts))
    parameters.add(texts: submissions.map(\.trace))
    parameters.add(submissions.map { Int16($0.isSecret ? 1 : 0) })
    parameters.add(places(submissions))
    return parameters
  }

  /// Which of them share a place in line, as a number for each.
  private static func places(_ submissions: [Submission]) -> [Int16] {
    var last: [Lane: (place: Int16, room: Int)] = [:]
    var count: Int16 = 0
    return submissions.map { submission in
      if let (place, room) = last[submission.lane], room > 0 {
        last[submission.lane] = (place, room - 1)
        return place
      }
      defer { count += 1 }
      last[submission.lane] = (count, submission.tasksPerPlace - 1)
      return count
    }
  }

  private static func addWishes(of submissions: [Submission], to parameters: inout PostgresParameters) {
    parameters.add(submissions.map { $0.runAt?.microseconds ?? .min })
    parameters.add(uuids: submissions.map { $0.fingerprint?.words })
  }

  /// A key of today or yesterday stands for its task. Today's is written unless somebody else writes it at the same
  /// time; `in (select …)` makes hashed subplans, while a join of two lists would be quadratic under a generic plan.
  private static func statement(
    _ name: String, withWishes: Bool, more: String = "", known: String = "", onConflict: String = "do nothing"
  ) -> PostgresStatement {
    let wishes = (
      parameters: withWishes ? ", $9::bigint[], $10::uuid[]" : "", columns: withWishes ? ", run_at, fingerprint" : "",
      key: withWishes ? ", fingerprint" : "",
      due: withWishes
        ? """
        , case when run_at > \(Int64.min) then
          extract(epoch from timestamptz 'epoch' + run_at * interval '1 microsecond' - now())::float8 end
        """ : "",
      ready: withWishes ? "where run_at = \(Int64.min)" : "",
      later: withWishes
        ? """
        , made_later as (
          insert into millrace.scheduled (id, run_at, lane)
          select id, timestamptz 'epoch' + run_at * interval '1 microsecond', lane from fresh
          where run_at > \(Int64.min)
        )
        """ : ""
    )
    let columns =
      "kind, lane, payload, digest, max_attempts, trace, secret, place" + wishes.columns
      + (more.isEmpty ? "" : ", stale")
    return PostgresStatement(
      name,
      """
      with input as materialized (
        select u.*, nextval('millrace.task_id') as id
        from unnest($1::text[], $2::smallint[], $3::bytea[], $4::uuid[], $5::smallint[], $6::text[],
            $7::smallint[], $8::smallint[]\(wishes.parameters)\(more))
          with ordinality as u (\(columns), ord)
      ), known as materialized (
        select i.ord from input i cross join lateral (
          select k.task_id from millrace.unique_key k
          where k.day = millrace.today() - 1 and k.digest = i.digest\(known) offset 0) k
      ), keyed as (
        insert into millrace.unique_key as k (day, digest, task_id\(wishes.key))
        select millrace.today(), digest, id\(wishes.key) from input
        where digest is not null and (ord in (select ord from known)) is not true order by digest
        on conflict (day, digest) \(onConflict)
        returning task_id
      ), fresh as materialized (
        select * from input where digest is null or id in (select task_id from keyed)
      ), stored as (
        insert into millrace.task (id, kind, lane, max_attempts, payload, trace, secret)
        select id, kind, lane, max_attempts, payload, trace, secret = 1 from fresh
      ), made_ready as (
        insert into millrace.ready_batch (lane, seq, ids)
        select min(lane), min(id), array_agg(id order by id) from fresh \(wishes.ready) group by place
      )\(wishes.later)
      select ord, id\(wishes.due) from fresh
      """)
  }

  private static let submit = statement("queue_submit", withWishes: false)

  private static let submitWithWishes = statement("queue_submit_wishes", withWishes: true)

  private static let replace = statement(
    "queue_submit_again", withWishes: true, more: ", $11::bigint[]", known: " and k.task_id <> i.stale",
    onConflict: """
      do update set task_id = excluded.task_id, fingerprint = excluded.fingerprint
        where k.task_id in (select unnest($11::bigint[]))
      """)

  private static let notifyAll = PostgresStatement("queue_notify_all", "select pg_notify('millrace_ready', $1::text)")

  /// Columns: which of the keys, the task's id, as far as it is not past its state, result, age in seconds, and whether
  /// it runs, and whether the key stands for something else. The leases are unpacked once a batch, however many of its
  /// keys have a task under way. The days are listed: as a range they would be a range of the index, all keys of a day,
  /// in which the digest is looked for.
  private static let find = PostgresStatement(
    "queue_find",
    """
    with found as materialized (
      select u.ord, k.task_id, t.state, t.result, t.finished_at,
        k.fingerprint is distinct from u.fingerprint as differs
      from unnest($1::uuid[], $2::uuid[]) with ordinality as u (digest, fingerprint, ord)
        left join lateral (
          select k.task_id, k.fingerprint from millrace.unique_key k
          where k.day in (millrace.today() - 1, millrace.today()) and k.digest = u.digest
          order by k.day desc limit 1) k on true
        left join lateral (select * from millrace.task t where t.id = k.task_id offset 0) t on true
    ), running as materialized (
      select r.id from millrace.lease l cross join unnest(l.ids) as r (id)
      where r.id in (select task_id from found where state = 0)
    )
    select ord, task_id, state, result, extract(epoch from now() - finished_at)::float8,
      state = 0 and task_id in (select id from running), differs
    from found
    """)

  private static let findPast = PostgresStatement(
    "queue_find_past",
    """
    select null::bigint, t.id, t.state, t.result, extract(epoch from now() - t.finished_at)::float8, false
    from millrace.past($1::bigint[]) t
    """)
}
