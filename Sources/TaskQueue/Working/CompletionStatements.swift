import Postgres

/// Statements that report how attempts ended. Each has to pass the fence: the lease must still stand, and the task's id
/// in it. Taking the lease away is also what locks it, so a completion and a take-over that meet come one after the
/// other, and the later one finds nothing.
enum CompletionStatements {
  /// The parameters of `completeOne`, of `recognise` likewise.
  private static func parameters(_ completions: [Completion]) -> PostgresParameters {
    var parameters = PostgresParameters()
    parameters.add(completions.map(\.id))
    parameters.add(completions.map(\.lease))
    parameters.add(completions.map { $0.outcome.state.rawValue })
    parameters.add(byteArrays: completions.map(\.outcome.result))
    parameters.add(texts: completions.map(\.outcome.error))
    return parameters
  }

  /// A statement for each lease that ends with its tasks, in an order that is the same for all, so that two that meet
  /// wait for each other in one direction only. Almost always there is one.
  static func completeAll(_ completions: [Completion]) -> [(PostgresStatement, PostgresParameters)] {
    guard let first = completions.first else { return [] }
    if completions.allSatisfy({ $0.lease == first.lease }) { return [complete(first.lease, completions)] }
    return Dictionary(grouping: completions, by: \.lease).sorted { $0.key < $1.key }.map { complete($0.key, $0.value) }
  }

  private static func complete(
    _ lease: Int64, _ completions: [Completion]
  ) -> (PostgresStatement, PostgresParameters) {
    var parameters = PostgresParameters()
    parameters.add(lease)
    parameters.add(completions.map(\.id))
    parameters.add(byteArrays: completions.map(\.outcome.result))
    if completions.allSatisfy({ $0.outcome.state == .completed }) { return (good, parameters) }
    parameters.add(completions.map { $0.outcome.state.rawValue })
    parameters.add(texts: completions.map(\.outcome.error))
    parameters.add(completions.map(\.outcome.delaySeconds))
    return (mixed, parameters)
  }

  static func completeOne(_ completion: Completion) -> (PostgresStatement, PostgresParameters) {
    var parameters = parameters([completion])
    parameters.add([completion.outcome.delaySeconds])
    return (one, parameters)
  }

  static func recognise(_ completions: [Completion]) -> (PostgresStatement, PostgresParameters) {
    (recognised, parameters(completions))
  }

  /// A lease whose tasks have all been completed, as almost all are. `is true` makes a hashed subplan of the look into
  /// the lease; as a join it would be quadratic under a generic plan.
  private static let good = PostgresStatement(
    "queue_complete",
    """
    with held as materialized (
      delete from millrace.lease where id = $1::bigint returning claimed_at, ids
    ), done as (
      update millrace.task t set state = 2, result = i.result, error = null, attempt = t.attempt + 1,
        started_at = h.claimed_at, finished_at = now(), payload = null
      from held h cross join unnest($2::bigint[], $3::bytea[]) as i (id, result)
      where t.id = i.id and t.state = 0 and (i.id in (select unnest(k.ids) from held k)) is true
      returning t.id
    )
    select id from done
    """)

  /// A lease of which some tasks failed or are to be tried again.
  private static let mixed = PostgresStatement(
    "queue_complete_mixed",
    update(
      held: "delete from millrace.lease where id = $1::bigint returning id, claimed_at, ids",
      input: "$2::bigint[], $4::smallint[], $3::bytea[], $5::text[], $6::float8[]", afterwards: ""))

  /// One task; the lease goes on with the others, and ends only with the last of its own.
  private static let one = PostgresStatement(
    "queue_complete_one",
    update(
      held: "select id, claimed_at, ids from millrace.lease where id = ($2::bigint[])[1] for update",
      input: "$1::bigint[], $3::smallint[], $4::bytea[], $5::text[], $6::float8[]",
      afterwards: """
        , shrunk as (
          update millrace.lease l set ids = array_remove(l.ids, ($1::bigint[])[1])
          where l.id in (select id from held) and (select count(*) from done) >= 0 and not l.ids <@ $1::bigint[]
        ), ended as (
          delete from millrace.lease l where l.id in (select id from held) and l.ids <@ $1::bigint[]
        )
        """))

  /// `held` is the lease as it is while nobody else can take it.
  private static func update(held: String, input: String, afterwards: String) -> String {
    """
    with held as materialized (
      \(held)
    ), done as (
      update millrace.task t set state = i.state, result = i.result, error = i.error, attempt = t.attempt + 1,
        progress = null, started_at = h.claimed_at, finished_at = case when i.state <> 0 then now() end,
        payload = case when i.state = 0 or i.state = 3 and not t.secret then t.payload end
      from held h cross join unnest(\(input)) as i (id, state, result, error, delay)
      where t.id = i.id and t.state = 0 and (i.id in (select unnest(k.ids) from held k)) is true
      returning t.id, t.lane, t.state, i.delay
    ), retried as (
      insert into millrace.scheduled (id, run_at, lane)
      select id, now() + make_interval(secs => delay), lane from done where state = 0
      on conflict (id) do nothing
    )\(afterwards)
    select id from done
    """
  }

  /// Which of these completions were stored before, by a statement whose answer was lost.
  private static let recognised = PostgresStatement(
    "queue_recognise",
    """
    select t.id
    from unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bytea[], $5::text[])
        as i (id, lease, state, result, error)
      cross join lateral (select * from millrace.task t where t.id = i.id offset 0) t
    where t.state = i.state and t.result is not distinct from i.result and t.error is not distinct from i.error
      and not exists (select from millrace.lease l where l.id = i.lease and i.id = any(l.ids))
      and (i.state <> 0 or exists (select from millrace.scheduled s where s.id = i.id))
    """)
}

extension Completion.Outcome {
  var state: TaskState {
    switch self {
    case .completed: .completed
    case .failed: .failed
    case .retry: .queued
    }
  }

  var result: [UInt8]? {
    if case .completed(let result) = self { result } else { nil }
  }

  var error: String? {
    switch self {
    case .completed: nil
    case .failed(let error), .retry(let error, _): error
    }
  }

  var delaySeconds: Double {
    if case .retry(_, let seconds) = self { seconds } else { 0 }
  }
}
