import Foundation
import TestSupport

/// PostgreSQL for one test: its own server with its own data, which is started again when it ends.
enum Database {
  private static let bin = "/usr/lib/postgresql/15/bin"

  /// Data with the queue's tables and the triggers in it, made once: to copy it takes a fraction of the time.
  private static let template: Result<TestServer, any Error> = Result {
    let folder = TemporaryFolder()
    let script = folder.path + "/history.sql"
    try Recorder.setUp.write(toFile: script, atomically: true, encoding: .utf8)
    chmod(folder.path, 0o755)
    let psql = "psql -h $PWD -U postgres -q -v ON_ERROR_STOP=1"
    return try TestServer(
      prepare: """
        RUN \(bin)/initdb -D data -U postgres -A trust --no-sync -E UTF8 --locale=C &&
        RUN \(bin)/pg_ctl -D data -w -l start.log -o "-k $PWD -c listen_addresses= -c fsync=off" start &&
        \(psql) -d postgres -c 'create database millrace' &&
        DB_HOST=$PWD DB_USER=postgres \(executable) migrate && \(psql) -d millrace -f \(script) &&
        RUN \(bin)/pg_ctl -D data -w -m fast stop
        """,
      command: "sleep infinity", isReady: "true", stopSignal: "KILL")
  }

  /// Starts one; with `diskMiB` its data is on a disk of that size.
  static func start(settings: [String], diskMiB: Int? = nil) throws -> TestServer {
    let data = try template.get().directory + "/data"
    let options =
      (["listen_addresses=", "shared_buffers=64MB", "track_commit_timestamp=on", "log_checkpoints=off"] + settings)
      .map { "-c \($0)" }.joined(separator: " ")
    let disk = diskMiB.map { "mkdir data && mount -t tmpfs -o size=\($0)m,mode=0777 none data && " } ?? "mkdir data && "
    return try TestServer(
      prepare: disk + "cp -a \(data)/. data/", command: "\(bin)/postgres -D data -k $PWD \(options)",
      isReady: "\(bin)/pg_isready -q -h $PWD -U postgres", stopSignal: "QUIT", isKeptUp: true,
      hasOwnMounts: diskMiB != nil)
  }
}
