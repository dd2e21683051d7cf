import Basics
import Glibc
import Postgres
import Reactor
import Testing

@testable import TaskQueue

/// Lines that are long, or full of what is dead: a claim looks only at what it takes.
@Suite(.timeLimit(.minutes(15))) struct DepthTests {
  /// How a claim of sixteen, as a worker's session makes it, looks into the line: scans of the whole, and rows read.
  private func look(_ stage: Stage, on reactor: isolated Reactor) async throws -> (scans: Int64, rows: Int64) {
    let places = Priority.allCases.map { ClaimWish.Place(Lane(line: 0, priority: $0), floor: 0) }
    let wish = ClaimWish(group: 0, places: places, count: 16, announces: nil)
    guard let claim = ClaimStatements.steps(wish, worker: 1).last?.0 else { throw StageError("no claim") }
    for setting in QueueSchema.workerSettings {
      try await stage.run("set \(setting.name) = \(setting.value)", on: reactor)
    }
    try await stage.run("prepare claim as \(claim.sql)", on: reactor)
    try await stage.run("begin", on: reactor)
    let lanes = "array[0, 1, 2]::smallint[], array[0, 0, 0]::bigint[]"
    try await stage.run("execute claim(1, \(lanes), 16)", on: reactor)
    let seen = "from pg_stat_xact_user_tables where relid = 'millrace.ready_batch'::regclass"
    let scans = try await stage.number("select seq_scan \(seen)", on: reactor)
    let rows = try await stage.number("select idx_tup_fetch + seq_tup_read \(seen)", on: reactor)
    try await stage.run("rollback", on: reactor)
    return (scans, rows)
  }

  /// Whether more is to be done on this machine than it has processors for, on average over the last minute.
  private var isBusy: Bool {
    var load = 0.0
    return getloadavg(&load, 1) == 1 && load > Double(sysconf(CInt(_SC_NPROCESSORS_ONLN)))
  }

  @Test func `I5 with a million tasks in line a claim takes what it takes with ten`() async throws {
    try await Stage.run(settings: ["max_wal_size=2GB"], isRecorded: false) { stage, reactor in
      try await stage.timeClaims(on: reactor)
      for _ in 0..<10 { try await stage.fillLine(100_000, priority: 1, on: reactor) }
      let look = try await look(stage, on: reactor)
      try stage.expect(look.scans == 0 && look.rows == 16, "of the line a claim of sixteen has looked at \(look)")
      try await stage.worker("worker", on: reactor)
      // Others use this machine, too, and then some claims wait for a processor; but a look at all of a million rows
      // would make every one of them slow.
      var tried = 0
      try await stage.within(
        60, "99 of 100 claims take less than 20 ms, or half of them on a busy machine", on: reactor
      ) {
        let claims = try await stage.claims(after: tried, on: reactor)
        guard claims.count >= 100 else { return false }
        tried += claims.count
        return claims.percentile(isBusy ? 0.5 : 0.99) < 20
      }
      let left = try await stage.number("select count(*) from millrace.ready", on: reactor)
      try stage.expect(left > 100_000, "only \(left) tasks were left in line")
    }
  }

  @Test func `I5 ten urgent tasks behind fifty thousand others are claimed next`() async throws {
    try await Stage.run(isRecorded: false) { stage, reactor in
      try await stage.timeClaims(on: reactor)
      try await stage.fillLine(50_000, priority: 2, on: reactor)
      try await stage.api(on: reactor)
      try await stage.worker("worker", on: reactor)
      try await stage.within(30, "it is busy", on: reactor) {
        try await stage.claims(after: 0, on: reactor).count > 3
      }
      var passedBy: Int64 = 0
      for round in 0..<4 {
        let ids = try await stage.clients.submitTogether(
          (0..<10).map { "urgent-\(round)-\($0)" }, priority: "high", on: reactor)
        let list = ids.map(String.init).joined(separator: ",")
        try await stage.within(30, "they are claimed", on: reactor) {
          try await stage.number("select count(*) from millrace.ready where id in (\(list))", on: reactor) == 0
        }
        let later = "timing.claim where began > (select max(created_at) from millrace.task where id in (\(list)))"
        passedBy += try await stage.number(
          "select count(*) from \(later) and n < (select min(n) from \(later) and lane = 0)", on: reactor)
      }
      let left = try await stage.number("select count(*) from millrace.ready where lane = 2", on: reactor)
      try stage.expect(left > 0, "all others came before the last of them")
      // A claim may have been on its way, and one of sixteen begins with the others.
      try stage.expect(passedBy <= 8, "\(passedBy) batches came before the ten, in four times")
    }
  }

  /// With little memory a worker claims an eighth of what it may otherwise, so there are claims enough to judge.
  @Test func `I1 I3 I5 of six thousand tasks of three priorities each gets its turn, the most urgent first`()
    async throws
  {
    try await Stage.run { stage, reactor in
      for _ in 0..<4 {
        for priority in [2, 0, 1] { try await stage.fillLine(500, priority: priority, on: reactor) }
      }
      try await stage.worker("worker", flags: ["--memory-mib", "64"], on: reactor)
      try await stage.allOver(within: 60, on: reactor)
      let claims = try await stage.number("select count(*) from history.change where what = 'leased'", on: reactor)
      try stage.expect(claims >= 40, "there were only \(claims) claims")
    }
  }

  /// Four minutes at 1,000 tasks a second: what they leave behind, dead rows that the snapshot keeps, is made at once,
  /// and then a few seconds of them follow.
  @Test func `while an old snapshot keeps all that is dead, claims do not look at it`() async throws {
    try await Stage.run(isRecorded: false) { stage, reactor in
      try await stage.timeClaims(on: reactor)
      try await stage.api(on: reactor)
      let old = try await stage.session(on: reactor)
      for sql in ["begin isolation level repeatable read", "select count(*) from millrace.task"] {
        _ = try await old.execute(PostgresStatement(sql, sql), on: reactor)
      }
      try await stage.run(
        """
        insert into millrace.ready_batch (lane, seq, ids)
        select 1, nextval('millrace.task_id'), '{0}' from generate_series(1, 240000)
        """, on: reactor)
      try await stage.run("delete from millrace.ready_batch", on: reactor)
      try await stage.worker("worker", on: reactor)
      let began = MonotonicTime.current()
      for round in 0..<50 {
        try await stage.clients.submitTogether((0..<100).map { "\(round)-\($0)" }, on: reactor)
        let next = began + .milliseconds(UInt64(round + 1) * 100)
        if next > .current() { await reactor.sleep(for: next.since(.current())) }
      }
      try await stage.allOver(within: 30, on: reactor)
      let look = "select seq from millrace.ready_batch where lane = 1 and seq >= 0 order by lane, seq limit 16"
      let analysis = try await stage.texts("explain (analyze, timing off, format text) \(look)", on: reactor)
      let whole = analysis.last.flatMap { $0.firstMatch(of: /Execution Time: ([0-9.]+)/) }.flatMap { Double($0.1) } ?? 0
      let claims = try await stage.claims(after: 0, on: reactor)
      try stage.expect(claims.count >= 40, "only \(claims.count) claims")
      try stage.expect(whole > 3, "a look at all that is dead takes \(whole) ms, too little to be told from a claim")
      let median = claims.percentile(0.5)
      try stage.expect(median < whole / 3, "a claim takes \(median) ms, and a look at all that is dead \(whole)")
      old.close(on: reactor)
    }
  }
}
