import Foundation
import Glibc
import TestSupport
import Testing

/// Runs the program to its end.
func run(
  _ arguments: [String], environment: [String: String] = [:]
) async throws -> (code: Int32, output: String) {
  try await runToEnd(executable, arguments, environment: environment)
}

/// Runs a program to its end, on a thread of its own: the tests share few threads, which must not block.
private func runToEnd(
  _ program: String, _ arguments: [String], environment: [String: String] = [:]
) async throws -> (code: Int32, output: String) {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread {
      continuation.resume(with: Result { try runBlocking(program, arguments, environment: environment) })
    }
  }
}

private func runBlocking(
  _ program: String, _ arguments: [String], environment: [String: String] = [:]
) throws -> (code: Int32, output: String) {
  var ends: [CInt] = [-1, -1]
  // Close-on-exec: no other child may hold the writing end open.
  guard socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0 else {
    throw POSIXError(.EMFILE)
  }
  defer { close(ends[0]) }
  let pid: pid_t
  do {
    defer { close(ends[1]) }
    pid = try ChildProcess.start(program, arguments, environment: environment, output: ends[1])
  }
  var output: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 65_536)
  while case let count = read(ends[0], &buffer, buffer.count), count > 0 { output += buffer[..<count] }
  return (ChildProcess.waitForEnd(of: pid).code, String(decoding: output, as: UTF8.self))
}

/// A `millrace up` of a test's own, in a temporary folder, whose output is collected.
final class System: @unchecked Sendable {
  // Safe because: a test uses it from one task at a time; the output is only read from its file.
  let folder: String
  let port: Int
  let pid: pid_t
  private let log: String
  private var exitCode: Int32?

  /// Starts one; `preparation` is shell that runs before it in the same process.
  init(folder: String? = nil, _ flags: [String] = [], preparation: String = ":") throws {
    self.folder = folder ?? System.makeFolder()
    port = FreePorts.first()
    log = self.folder + "/up-\(port).log"
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    defer { close(output) }
    let arguments =
      ["-c", preparation + "; exec \"$0\" \"$@\"", executable]
      + [
        "up", "--data", self.folder + "/data", "--port", "\(port)", "--api", "1", "--workers", "1", "--services", "1",
        "--kv", "0",
        "--rate-limit", "0",
      ]
      + flags
    pid = try ChildProcess.start("/bin/sh", arguments, output: output)
  }

  /// A new folder; with `name` one of that name inside it.
  static func makeFolder(_ name: String = "") -> String {
    let folder = String(cString: mkdtemp(strdup("/tmp/millrace-up-XXXXXX")))
    chmod(folder, 0o755)
    if name.isEmpty { return folder }
    mkdir("\(folder)/\(name)", 0o755)
    return "\(folder)/\(name)"
  }

  var output: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  /// Waits until the output contains `text`, 60 s at most.
  func waitFor(_ text: String, times: Int = 1) async -> Bool {
    await eventually { self.output.components(separatedBy: text).count > times }
  }

  /// Waits for the end and returns the exit code.
  func waitForEnd() async -> Int32 {
    _ = await eventually { !self.isRunning }
    return isRunning ? -1 : exitCode ?? -1
  }

  private var isRunning: Bool {
    if exitCode != nil { return false }
    var status: Int32 = 0
    guard waitpid(pid, &status, WNOHANG) == pid else { return true }
    exitCode = status >> 8 & 0xFF
    return false
  }

  /// The processes whose command lines name this system's folder, without the launcher.
  func processes(_ role: String = "") -> [pid_t] {
    let all = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return all.compactMap { pid_t($0) }.filter { candidate in
      guard candidate != pid, let data = FileManager.default.contents(atPath: "/proc/\(candidate)/cmdline") else {
        return false
      }
      let line = String(decoding: data, as: UTF8.self).replacing("\0", with: " ")
      return line.contains(folder) && line.contains(role)
    }
  }

  /// The process of PostgreSQL that all its others come from, as its folder tells. A new one of those is called like it
  /// for a moment, and may have a smaller number.
  func postgres() throws -> pid_t {
    let file = try String(contentsOfFile: folder + "/data/postgres/postmaster.pid", encoding: .utf8)
    return try #require(file.split(separator: "\n").first.flatMap { pid_t($0) })
  }

  func get(_ path: String) async throws -> String { try await curl(path, []) }

  func post(_ path: String, _ body: String) async throws -> String {
    try await curl(path, ["-H", "Content-Type: application/json", "-d", body])
  }

  private func curl(_ path: String, _ arguments: [String]) async throws -> String {
    let line = ["curl", "-s", "--max-time", "20", "http://127.0.0.1:\(port)\(path)"] + arguments
    return try await runToEnd("/usr/bin/env", line).output
  }

  /// Ends everything that is left and removes the folder.
  func remove() {
    if isRunning { kill(pid, SIGKILL) }
    for child in processes() { kill(child, SIGKILL) }
    try? FileManager.default.removeItem(atPath: folder)
  }
}

/// Whether `condition` becomes true within 60 s.
func eventually(_ condition: () async -> Bool) async -> Bool {
  let deadline = ContinuousClock.now + .seconds(60)
  var looks = 0
  // A test that does not get its turn for a minute has not looked for a minute.
  while ContinuousClock.now < deadline || looks < 200 {
    looks += 1
    if await condition() { return true }
    try? await Task.sleep(for: .milliseconds(25))
  }
  return false
}

/// What a line of shell prints.
func shell(_ line: String) async throws -> String {
  try await runToEnd("/bin/sh", ["-c", line], environment: ["PATH": path]).output
}

/// PostgreSQL's own programs first: Debian's wrappers around them cost a tenth of a second of computing each.
private let path: String = {
  let usual = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
  let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
  let newest = versions.compactMap { Int($0) }.max()
  return newest.map { "/usr/lib/postgresql/\($0)/bin:\(usual)" } ?? usual
}()
