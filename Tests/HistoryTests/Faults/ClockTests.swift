import Basics
import Foundation
import HTTP
import Reactor
import TestSupport
import Testing

/// A library that sets the clock of whoever loads it an hour ahead; nil where there is no compiler for it. Only the
/// clock that tells the time is: the one that measures spans is nobody's to set.
private let hourAhead: (folder: TemporaryFolder, library: String)? = {
  let folder = TemporaryFolder()
  let source = """
    #define _GNU_SOURCE
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <time.h>
    #include <unistd.h>
    int clock_gettime(clockid_t id, struct timespec *t) {
      int result = syscall(SYS_clock_gettime, id, t);
      if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) t->tv_sec += 3600;
      return result;
    }
    int gettimeofday(struct timeval *t, void *zone) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME, &now);
      t->tv_sec = now.tv_sec;
      t->tv_usec = now.tv_nsec / 1000;
      return 0;
    }
    time_t time(time_t *t) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME, &now);
      if (t) *t = now.tv_sec;
      return now.tv_sec;
    }
    """
  guard (try? source.write(toFile: folder.path + "/ahead.c", atomically: true, encoding: .utf8)) != nil,
    let pid = try? ChildProcess.start(
      "clang", ["-shared", "-fPIC", "-o", folder.path + "/ahead.so", folder.path + "/ahead.c"]),
    ChildProcess.waitForEnd(of: pid).code == 0
  else { return nil }
  return (folder, folder.path + "/ahead.so")
}()

@Suite(.timeLimit(.minutes(15)), .enabled(if: hourAhead != nil, "it takes clang")) struct ClockTests {
  @Test func `I1 I3 a worker whose clock is an hour ahead does what others do, and when they do it`() async throws {
    let library = try #require(hourAhead).library
    try await Stage.run { stage, reactor in
      let right = try await stage.worker("right", on: reactor)
      let ahead = try await stage.worker("ahead", environment: ["LD_PRELOAD": library], on: reactor)
      try await stage.api(on: reactor)
      let clock = try await stage.texts(
        "select to_char(now() at time zone 'UTC' + '1 hour', 'YYYY-MM-DD\"T\"HH24:')", on: reactor)
      try stage.expect(ahead.output.contains(clock[0]), "its clock is not ahead")
      let client = HTTPClient()
      func schedule(_ name: String, in seconds: Int) async throws {
        let time = try await stage.texts(
          "select to_char(now() at time zone 'UTC' + '\(seconds) s', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')", on: reactor)
        let request = HTTPClientRequest(
          .post, "/hash/md5?run_at=\(time[0])", body: Array("{\"string\":\"\(name)\"}".utf8))
        let isAcknowledged = await stage.clients.ask(request, name, client, on: reactor)
        try stage.expect(isAcknowledged, "\(name) was refused")
      }
      try await schedule("soon", in: 3)
      try await schedule("in half an hour", in: 1800)
      try await stage.clients.submit(300, on: reactor)
      try await stage.within(30, "all but one are over", on: reactor) {
        try await stage.number("select count(*) from millrace.task where state = 0", on: reactor) == 1
      }
      // Long enough for both to have judged each other several times.
      await reactor.sleep(for: .seconds(18 as UInt64))
      let early = try await stage.number(
        "select count(*) from millrace.task where started_at < created_at or started_at > now()", on: reactor)
      try stage.expect(early == 0, "\(early) tasks were begun at a time that was not")
      let waits = try await stage.number("select count(*) from millrace.scheduled where run_at > now()", on: reactor)
      try stage.expect(waits == 1, "what is due in half an hour was begun")
      for worker in [right, ahead] {
        let rescued = await worker.metric("millrace_worker_rescued_tasks_total", on: reactor)
        let late = await worker.metric("millrace_worker_stale_completions_total", on: reactor)
        let done = await worker.metric("millrace_worker_completed_tasks_total", on: reactor)
        try stage.expect(rescued == 0 && late == 0, "\(worker.name) was taken for dead, or took another for it")
        try stage.expect(done ?? 0 > 0, "\(worker.name) did nothing")
      }
      let workers = try await stage.number("select count(*) from millrace.worker where not has_left", on: reactor)
      try stage.expect(workers == 2, "there are \(workers) workers")
      let waiting = try await stage.number("select id from millrace.scheduled", on: reactor)
      _ = try await client.send(
        HTTPClientRequest(.post, "/task/\(waiting)/cancel"), to: stage.clients.address,
        until: reactor.now + .seconds(5 as UInt64), on: reactor)
      client.closeIdle(on: reactor)
      try await stage.allOver(within: 15, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
