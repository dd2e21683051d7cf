import Basics
import Foundation
import Glibc
import Reactor
import TestSupport
import Testing

/// Whether this process may mount something where nobody else sees it.
private let mayMount: Bool = {
  guard geteuid() == 0, let pid = try? ChildProcess.start("unshare", ["-m", "mount", "-t", "tmpfs", "none", "/mnt"])
  else { return false }
  return ChildProcess.waitForEnd(of: pid).code == 0
}()

@Suite(.timeLimit(.minutes(15)), .enabled(if: mayMount, "mounting takes a superuser")) struct FullDiskTests {
  /// Fills the disk under PostgreSQL as far as it goes, and returns the file to be removed.
  private func fill(_ stage: Stage) throws -> String {
    // What the server's keeper sees, which has mounts of its own.
    let path = "/proc/\(stage.server.keeperId)/root\(stage.server.directory)/data/ballast"
    let fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
    guard fd >= 0 else { throw StageError("no ballast: \(errno)") }
    defer { close(fd) }
    for size in [1 << 20, 4096] {
      let bytes = [UInt8](repeating: 0, count: size)
      while write(fd, bytes, size) == size {}
    }
    return path
  }

  @Test func `I1 I2 I3 while the disk under PostgreSQL is full clients are told so, and then all is done`() async throws
  {
    let settings = ["max_wal_size=32MB", "min_wal_size=32MB"]
    try await Stage.run(settings: settings, diskMiB: 160) { stage, reactor in
      for name in ["first", "second"] { try await stage.worker(name, on: reactor) }
      try await stage.api(on: reactor)
      try await stage.clients.submit(100, on: reactor)
      let load = Task.immediate(executorPreference: reactor.queue) {
        try await stage.clients.submit(1500, within: 90, on: reactor)
      }
      let ballast = try fill(stage)
      try await stage.within(60, "clients are told", on: reactor) { stage.clients.statuses[503] ?? 0 > 8 }
      // Without a place for the next segment of its journal it cannot even go on as it is.
      try? await stage.run("select pg_switch_wal()", on: reactor)
      try await stage.within(30, "PostgreSQL says so", on: reactor) {
        try String(contentsOfFile: stage.server.directory + "/server.log", encoding: .utf8).contains("No space left")
      }
      await reactor.sleep(for: .seconds(1 as UInt64))
      unlink(ballast)
      try await load.value
      let told = stage.clients.statuses
      try stage.expect(told.keys.allSatisfy { [200, 202, 503].contains($0) }, "\(told)")
      try await stage.allOver(within: 60, on: reactor)
      await stage.clients.lookAtAll(on: reactor)
    }
  }
}
