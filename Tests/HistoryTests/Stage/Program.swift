import Basics
import Foundation
import Glibc
import HTTP
import Reactor
import TestSupport

/// A real `millrace api` or `millrace worker`, which has its own name in the sessions that it opens.
final class Program {
  let name: String
  let address: SocketAddress
  private let pid: pid_t
  private let log: String
  private var isReaped = false

  /// Starts `role` on the PostgreSQL whose socket is in `host`.
  init(
    _ role: String, _ name: String, host: String, folder: String, flags: [String] = [],
    environment: [String: String] = [:]
  ) throws {
    self.name = name
    let socket = "\(folder)/\(name).sock"
    guard let address = SocketAddress("unix:\(socket)") else { throw StageError("\(socket) is too long") }
    self.address = address
    log = "\(folder)/\(name).log"
    let output = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o644)
    defer { close(output) }
    let common = [
      role, "--listen", "unix:\(socket)", "--db-host", host, "--app-name", name, "--redis", "off", "--logs", "text",
      "--secret-key", String(repeating: "5e", count: 32),
    ]
    pid = try ChildProcess.start(executable, common + flags, environment: environment, output: output)
  }

  /// What it has said.
  var output: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

  /// Sends it a signal.
  func signal(_ signal: Int32) { if !hasEnded { Glibc.kill(pid, signal) } }

  /// Whether it is gone.
  var hasEnded: Bool {
    var status: Int32 = 0
    if !isReaped, waitpid(pid, &status, WNOHANG) == pid { isReaped = true }
    return isReaped
  }

  /// Ends it as a machine does that loses its power.
  func kill() {
    if hasEnded { return }
    Glibc.kill(pid, SIGKILL)
    _ = ChildProcess.waitForEnd(of: pid)
    isReaped = true
  }

  /// Whether it says of itself that it has all it needs.
  func isReady(on reactor: isolated Reactor) async -> Bool {
    await get("/readyz", on: reactor)?.status == 200
  }

  /// The sum of the metric called `name`, nil if it is not told.
  func metric(_ name: String, on reactor: isolated Reactor) async -> Double? {
    guard let answer = await get("/metrics", on: reactor) else { return nil }
    let lines = String(decoding: answer.body, as: UTF8.self).split(separator: "\n")
    let values = lines.filter { $0.hasPrefix(name + " ") || $0.hasPrefix(name + "{") }
    return values.isEmpty ? nil : values.compactMap { Double($0.split(separator: " ").last ?? "") }.reduce(0, +)
  }

  private func get(_ path: String, on reactor: isolated Reactor) async -> HTTPClientResponse? {
    let client = HTTPClient()
    defer { client.closeIdle(on: reactor) }
    return try? await client.send(
      HTTPClientRequest(.get, path), to: address, until: reactor.now + .seconds(2 as UInt64), on: reactor)
  }
}
