import Postgres

/// Statements that report how attempts ended. Each has to pass the fence: the lease must still stand, and the task's id
/// in it. Taking the lease away is also what locks it, so a completion and a take-over that meet come one after the
/// other, and the later one finds nothing.
enum CompletionStatements {
  /// The parameters of `completeAll`, of `recognise` likewise.
  static func parameters(_ completions: [Completion]) -> PostgresParameters {
    var parameters = PostgresParameters()
    parameters.add(completions.map(\.id))
    parameters.add(completions.map(\.lease))
    parameters.add(completions.map { $0.outcome.state.rawValue })
    parameters.add(byteArrays: completions.map(\.outcome.result))
    parameters.add(texts: completions.map(\.outcome.error))
    return parameters
  }

  static func completeAll(_ completions: [Completion]) -> (PostgresStatement, PostgresParameters) {
    var parameters = parameters(completions)
    parameters.add(completions.map(\.outcome.delaySeconds))
    parameters.add(Array(Set(completions.map(\.lease))))
    return (all, parameters)
  }

  static func completeOne(_ completion: Completion) -> (PostgresStatement, PostgresParameters) {
    var parameters = parameters([completion])
    parameters.add([completion.outcome.delaySeconds])
    parameters.add([completion.lease])
    return (one, parameters)
  }

  static func recognise(_ completions: [Completion]) -> (PostgresStatement, PostgresParameters) {
    (recognised, parameters(completions))
  }

  /// `held` are the leases as they are while nobody else can take them.
  private static func statement(_ name: String, held: String, afterwards: String) -> PostgresStatement {
    PostgresStatement(
      name,
      """
      with input as materialized (
        select * from unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bytea[], $5::text[], $6::float8[])
          as u (id, lease, state, result, error, delay)
      ), held as materialized (
        \(held)
      ), members as materialized (
        select u.id, h.id as lease from held h cross join unnest(h.ids) as u (id)
      ), done as (
        update millrace.task t set state = i.state, result = i.result, error = i.error, attempt = t.attempt + 1,
          started_at = (select h.claimed_at from held h where h.id = i.lease),
          finished_at = case when i.state <> 0 then now() end,
          payload = case when i.state = 0 or i.state = 3 and not t.secret then t.payload end
        from input i
        where t.id = i.id and t.state = 0 and ((i.id, i.lease) in (select id, lease from members)) is true
        returning t.id, t.lane, t.state, i.delay
      ), retried as (
        insert into millrace.scheduled (id, run_at, lane)
        select id, now() + make_interval(secs => delay), lane from done where state = 0
        on conflict (id) do nothing
      )\(afterwards)
      select id from done
      """)
  }

  /// A whole lease, or several: they end with their tasks.
  private static let all = statement(
    "queue_complete", held: "delete from millrace.lease where id = any($7::bigint[]) returning id, claimed_at, ids",
    afterwards: "")

  /// One task; the lease goes on with the others, and ends only with the last of its own.
  private static let one = statement(
    "queue_complete_one",
    held: "select id, claimed_at, ids from millrace.lease where id = any($7::bigint[]) for update",
    afterwards: """
      , shrunk as (
        update millrace.lease l set ids = array_remove(l.ids, ($1::bigint[])[1])
        where l.id in (select id from held) and (select count(*) from done) >= 0 and not l.ids <@ $1::bigint[]
      ), ended as (
        delete from millrace.lease l where l.id in (select id from held) and l.ids <@ $1::bigint[]
      )
      """)

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
