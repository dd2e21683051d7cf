// TestSupport: real servers for tests: each starts its own PostgreSQL or Redis in a temporary folder, on a Unix socket.
//
// A server's life hangs on a pipe that this process holds: when the process ends, however it ends, the shell on the
// other side reads the end of the pipe, stops the server and removes the folder. Nothing is left behind.

import Foundation

/// A program started for the length of a test run.
public final class TestServer: Sendable {
  /// Where the server keeps its files and its socket.
  public let directory: String
  /// The server's process id.
  public let processId: Int32
  private let lifeline: CInt
  private let shell: pid_t

  /// Why a server did not start.
  public struct Failure: Error, CustomStringConvertible {
    /// What the server and its preparation printed.
    public let description: String
  }

  /// Makes a folder, runs `prepare` (a shell line) in it, starts `command` and waits until `isReady` (a shell line)
  /// succeeds. As root everything runs as the unprivileged user `postgres`, because PostgreSQL refuses root.
  public init(prepare: String, command: String, isReady: String, stopSignal: String) throws {
    let directory = String(cString: mkdtemp(strdup("/tmp/millrace-test-XXXXXX")))
    self.directory = directory
    let privileges = getuid() == 0 ? "setpriv --reuid=postgres --regid=postgres --clear-groups" : ""
    if getuid() == 0 { _ = chown(directory, getpwnam("postgres").pointee.pw_uid, getpwnam("postgres").pointee.pw_gid) }
    var ends: [CInt] = [-1, -1]
    // Close-on-exec: no other child may hold the pipe open, or the server would outlive this process.
    guard pipe(&ends) == 0 else { throw Failure(description: "no pipe") }
    for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
    lifeline = ends[1]
    let script = """
      cd \(directory) && { \(prepare.replacingOccurrences(of: "RUN", with: privileges)); } >prepare.log 2>&1 || exit 1
      \(privileges) \(command) >server.log 2>&1 &
      echo $! >server.pid
      cat >/dev/null
      kill -\(stopSignal) $(cat server.pid); wait; rm -rf \(directory)
      """
    shell = try Shell.start(script, input: ends[0])
    close(ends[0])
    let ready =
      "cd \(directory); for i in $(seq 500); do [ -s server.pid ] && \(isReady) && exit 0; sleep 0.02; done; exit 1"
    guard Shell.wait(for: try Shell.start(ready, input: nil)) == 0,
      let id = Int32(try String(contentsOfFile: directory + "/server.pid", encoding: .utf8).dropLast())
    else {
      let log = ["prepare.log", "server.log"].map {
        (try? String(contentsOfFile: directory + "/" + $0, encoding: .utf8)) ?? ""
      }
      throw Failure(description: "server did not start: \(log.joined())")
    }
    processId = id
  }

  /// Stops the server and removes its folder.
  public func stop() {
    close(lifeline)
    _ = Shell.wait(for: shell)
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

/// Runs lines of shell as child processes. Not Foundation's `Process`, whose waiting depends on the run loop of the
/// thread that started it.
enum Shell {
  /// Starts `script` with `input` as its standard input (nil: nothing), and its output thrown away.
  static func start(_ script: String, input: CInt?) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    if let input {
      posix_spawn_file_actions_adddup2(&actions, input, 0)
    } else {
      posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    }
    // Whoever reads what this process prints must not have to wait for the servers.
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    var arguments: [UnsafeMutablePointer<CChar>?] =
      ["/bin/sh", "-c", script].map { (text: String) in strdup(text) } + [nil]
    defer { for argument in arguments { free(argument) } }
    // Test threads run with signals blocked, and children inherit that: a server could then not be told to stop.
    var attributes = posix_spawnattr_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    var none = sigset_t()
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var child: pid_t = 0
    let code = posix_spawn(&child, "/bin/sh", &actions, &attributes, &arguments, environ)
    guard code == 0 else { throw TestServer.Failure(description: String(cString: strerror(code))) }
    return child
  }

  /// Waits for a child's end and returns its exit code, or 128 if a signal ended it.
  static func wait(for child: pid_t) -> Int32 {
    var status: Int32 = 0
    while waitpid(child, &status, 0) == -1, errno == EINTR {}
    return status & 0x7F == 0 ? (status >> 8) & 0xFF : 128
  }
}
