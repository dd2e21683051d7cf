import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.timeLimit(.minutes(15))) struct CommandLineTests {
  @Test func exitCodesSayWhatWasWrong() async throws {
    #expect(try await run(["version"]).code == 0)
    #expect(try await run(["--help"]).output.hasPrefix("Millrace: a load balancer"))
    #expect(try await run([]).code == 0)
    for command in ["up", "balance", "api", "worker", "service", "migrate", "doctor", "healthcheck", "config"] {
      let (code, output) = try await run([command, "--help"])
      #expect(code == 0 && output.contains("Usage: millrace \(command)"))
    }
    #expect(try await run(["version"], environment: ["MILLRACE_NONSENSE": "1"]).code == 0)
    #expect(try await run(["config", "api"], environment: ["MILLRACE_LOGZ": "1"]).code == 78)
    #expect(try await run(["healthcheck", "http://127.0.0.1:1/readyz"]).code == 1)
    #expect(try await run(["migrate", "--db-host", "/nonexistent", "--db-connection-retries", "0"]).code == 75)
    #expect(try await run(["exec-child"]).code == 1)
    let many = (0..<1025).map { "127.0.0.1:\($0 + 1)" }.joined(separator: ",")
    #expect(try await run(["balance", "--backend", many]).code == 78)
    // The examples' programs are missing, and what 'up' needs of PATH.
    let doctor = try await run(["doctor"], environment: ["PATH": "/nonexistent"])
    #expect(doctor.code == 75 && doctor.output.contains("1 of the things above must be mended"))
  }

  @Test func aTakenAddressIsNamedWithItsFlag() async throws {
    let holder = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(holder) }
    #expect(listen(holder, 1) == 0)
    var address = sockaddr_in()
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = getsockname(holder, $0, &size) }
    }
    let port = UInt16(bigEndian: address.sin_port)
    let key = ["SECRET_KEY": String(repeating: "0", count: 64)]
    for line in [["api", "--listen", "127.0.0.1:\(port)"], ["worker", "--listen", "127.0.0.1:\(port)"]] {
      let (code, output) = try await run(line, environment: key)
      #expect(code == 1)
      #expect(output.contains("cannot listen on 127.0.0.1:\(port): Address already in use; see --listen"), "\(output)")
    }
    let (code, output) = try await run(["balance", "--port", "\(port)", "--backend", "127.0.0.1:1"])
    #expect(code == 1 && output.contains("127.0.0.1:\(port): Address already in use; see --host and --port"))
  }

  @Test func aSignalEndsAToolAsUsual() async throws {
    let nothing = open("/dev/null", O_WRONLY | O_CLOEXEC)
    let arguments = ["migrate", "--db-host", "/nonexistent", "--db-connection-retries", "1000"]
    let pid = try ChildProcess.start(executable, arguments, output: nothing)
    close(nothing)
    try await Task.sleep(for: .milliseconds(300))
    // As Ctrl-C does; a runner in the background may have that one ignored.
    kill(pid, SIGTERM)
    #expect(ChildProcess.waitForEnd(of: pid).signal == SIGTERM)
  }
}
