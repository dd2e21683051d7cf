import Basics
import Foundation
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport

/// A real `millrace kv`, on a Unix socket in the folder of its store.
final class KeyValueProgram: @unchecked Sendable {
  // Safe because: a test uses it from one task at a time; the output is only read from its file.
  let name: String
  let address: SocketAddress
  let pid: pid_t
  private let log: String
  private var isReaped = false

  /// Starts it; `before` is what runs it, and runs in its place when it ends with `exec`.
  convenience init(
    _ name: String = "server-1", in folder: String, peers: [String] = [], flags: [String] = [], before: [String] = []
  ) throws {
    let socket = KeyValueProgram.socket(name, in: folder)
    let line = before + [executable, "kv", "--name", name, "--listen", "unix:\(socket)", "--kv-data", "\(folder)/kv"]
    try self.init(
      name, at: SocketAddress("unix:\(socket)")!, line + KeyValueProgram.flags(peers, in: folder) + flags, in: folder)
  }

  private init(_ name: String, at address: SocketAddress, _ line: [String], in folder: String) throws {
    (self.name, self.address) = (name, address)
    log = "\(folder)/\(name).log"
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    defer { close(output) }
    pid = try ChildProcess.start(
      line[0], Array(line.dropFirst()), environment: ["MILLRACE_LOGS": "text"], output: output)
  }

  /// A real `millrace balance` before servers of these names, on a free loopback port.
  static func balancer(before servers: [String], in folder: String, flags: [String] = []) throws -> KeyValueProgram {
    let address = SocketAddress("127.0.0.1:\(FreePorts.first())")!
    let line = [executable, "balance", "--port", "\(address.port)", "--rate-limit", "0", "--reactors", "2"]
    return try KeyValueProgram("balancer", at: address, line + self.flags(servers, in: folder) + flags, in: folder)
  }

  private static func flags(_ servers: [String], in folder: String) -> [String] {
    servers.flatMap { ["--kv-server", "\($0)=unix:\(socket($0, in: folder))"] }
  }

  static func socket(_ name: String, in folder: String) -> String { "\(folder)/\(name).sock" }

  /// What it has said.
  var output: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  func signal(_ signal: Int32) { if !isReaped { Glibc.kill(pid, signal) } }

  /// Sends it `signal` and waits for its end.
  func end(_ signal: Int32 = SIGKILL) {
    guard !isReaped else { return }
    Glibc.kill(pid, signal)
    _ = ChildProcess.waitForEnd(of: pid)
    isReaped = true
  }

  /// Waits until it answers.
  func awaitAnswer(on reactor: isolated Reactor) async throws {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    while true {
      let request = HTTPClientRequest(.get, "/livez")
      if let answer = try? await client.send(
        request, to: address, until: reactor.now + .seconds(20 as UInt64), on: reactor), answer.status == 200
      {
        return
      }
      var status: Int32 = 0
      if waitpid(pid, &status, WNOHANG) == pid {
        isReaped = true
        throw Ended(output: output)
      }
      await reactor.sleep(for: .milliseconds(5))
    }
  }

  struct Ended: Error {
    let output: String
  }

  deinit { end() }
}

/// Runs a line of shell to its end, on a thread of its own: the tests share few threads, which must not block.
func shell(_ line: String) async throws -> (code: Int32, output: String) {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread {
      continuation.resume(
        with: Result {
          var template = Array("/tmp/millrace-shell-XXXXXX".utf8CString)
          let fd = mkstemp(&template)
          let name = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
          defer {
            close(fd)
            unlink(name)
          }
          let pid = try ChildProcess.start("/bin/sh", ["-c", line], output: fd)
          let end = ChildProcess.waitForEnd(of: pid)
          return (end.code, try String(contentsOfFile: name, encoding: .utf8))
        })
    }
  }
}
