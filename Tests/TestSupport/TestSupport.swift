// TestSupport: real servers for tests: each starts its own PostgreSQL or Redis in a temporary folder, on a Unix socket.
//
// A server's life hangs on a pipe that this process holds: when the process ends, however it ends, the shell on the
// other side reads the end of the pipe, stops the server and removes the folder. Nothing is left behind.

import Foundation

/// A program started for the length of a test run.
public final class TestServer: Sendable {
  /// Where the server keeps its files and its socket.
  public let directory: String
  /// The process id that the server had when it was ready first.
  public let processId: Int32
  /// The process that stands for the server: what it sees as files the server sees, too.
  public var keeperId: Int32 { shell }
  private let lifeline: CInt
  private let shell: pid_t

  /// Why a server did not start.
  public struct Failure: Error, CustomStringConvertible {
    /// What the server and its preparation printed.
    public let description: String
  }

  /// Makes a folder, runs `prepare` (a shell line) in it, starts `command` and waits until `isReady` (a shell line)
  /// succeeds. As root everything runs as the unprivileged user `postgres`, because PostgreSQL refuses root.
  /// - Parameters:
  ///   - isKeptUp: whether it is started again as often as it ends before `stop`.
  ///   - hasOwnMounts: whether what `prepare` mounts is there for the server alone, and goes with it.
  /// - Throws: `Failure`.
  public init(
    prepare: String, command: String, isReady: String, stopSignal: String, isKeptUp: Bool = false,
    hasOwnMounts: Bool = false
  ) throws {
    let directory = String(cString: mkdtemp(strdup("/tmp/millrace-test-XXXXXX")))
    self.directory = directory
    let privileges = getuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --clear-groups" : ""
    if getuid() == 0 { _ = chown(directory, getpwnam("postgres").pointee.pw_uid, getpwnam("postgres").pointee.pw_gid) }
    var ends: [CInt] = [-1, -1]
    // Close-on-exec: no other child may hold the pipe open, or the server would outlive this process.
    guard pipe(&ends) == 0 else { throw Failure(description: "no pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    lifeline = ends[1]
    // Of what runs in the background a shell can only be sure when it says so itself.
    let script = """
      cd \(directory) && { \(prepare.replacingOccurrences(of: "RUN", with: privileges)); } >prepare.log 2>&1 || exit 1
      serve() {
        while [ ! -e ended ]; do
          \(privileges) \(command) >>server.log 2>&1 &
          echo $! >server.new; mv server.new server.pid; wait $!
          \(isKeptUp ? "sleep 0.1" : "break")
        done
        touch over
      }
      serve &
      cat >/dev/null
      touch ended
      while [ ! -e over ]; do kill -\(stopSignal) $(cat server.pid); sleep 0.02; done
      wait; cd /; rm -rf \(directory)
      """
    // It outlives this process for a moment, to stop the server in good order.
    shell = try ChildProcess.start(
      hasOwnMounts ? "unshare" : "/bin/sh", (hasOwnMounts ? ["-m", "/bin/sh"] : []) + ["-c", script], input: ends[0],
      diesWithRunner: false)
    close(ends[0])
    let ready =
      "cd \(directory); for i in $(seq 500); do [ -s server.pid ] && \(isReady) && exit 0; sleep 0.02; done; exit 1"
    guard ChildProcess.waitForEnd(of: try ChildProcess.start("/bin/sh", ["-c", ready])) == (0, 0),
      let id = Int32(try String(contentsOfFile: directory + "/server.pid", encoding: .utf8).dropLast())
    else {
      let log = ["prepare.log", "server.log"].map {
        (try? String(contentsOfFile: directory + "/" + $0, encoding: .utf8)) ?? ""
      }
      throw Failure(description: "server did not start: \(log.joined())")
    }
    processId = id
  }

  /// The process id that the server has now, if it is kept up.
  /// - Throws: while it is being started.
  public func currentId() throws -> Int32 {
    let text = try String(contentsOfFile: directory + "/server.pid", encoding: .utf8)
    guard let id = Int32(text.dropLast()) else { throw Failure(description: "no process id: \(text)") }
    return id
  }

  /// Stops the server and removes its folder.
  public func stop() {
    close(lifeline)
    _ = ChildProcess.waitForEnd(of: shell)
  }

  /// A PostgreSQL of its own, with durability on as in production; connect through the folder as host.
  public static func postgres(settings: [String] = []) throws -> TestServer {
    let bin = "/usr/lib/postgresql/15/bin"
    let options = (["listen_addresses=", "shared_buffers=64MB"] + settings)
      .map { "-c \($0)" }.joined(separator: " ")
    return try TestServer(
      prepare: "RUN \(bin)/initdb -D data -U postgres -A trust --no-sync -E UTF8 --locale=C",
      command: "\(bin)/postgres -D data -k $PWD \(options)",
      isReady: "\(bin)/pg_isready -q -h $PWD -U postgres", stopSignal: "INT")
  }

  /// A Redis of its own without persistence; its socket is `redis.sock` in the folder.
  public static func redis() throws -> TestServer {
    try TestServer(
      prepare: "true",
      command: "redis-server --port 0 --unixsocket $PWD/redis.sock --save '' --appendonly no --dir $PWD",
      isReady: "[ \"$(redis-cli -s $PWD/redis.sock ping 2>/dev/null)\" = PONG ]", stopSignal: "TERM")
  }
}
