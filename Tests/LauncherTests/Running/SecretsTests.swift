import Foundation
import Glibc
import TestSupport
import Testing

@Suite(.serialized, .timeLimit(.minutes(15))) struct SecretsTests {
  /// How often `word` stands in memory of a process that it can write to; nil if that memory cannot be read.
  private func count(_ word: String, in process: pid_t) throws -> Int? {
    let memory = open("/proc/\(process)/mem", O_RDONLY | O_CLOEXEC)
    guard memory >= 0 else { return nil }
    defer { close(memory) }
    let pattern = Array(word.utf8)
    var buffer = [UInt8](repeating: 0, count: 1 << 20)
    var found = 0
    for line in try String(contentsOfFile: "/proc/\(process)/maps", encoding: .utf8).split(separator: "\n") {
      let fields = line.split(separator: " ")
      let bounds = fields[0].split(separator: "-").compactMap { UInt64($0, radix: 16) }
      guard fields[1].hasPrefix("rw"), bounds.count == 2 else { continue }
      var start = bounds[0]
      while start < bounds[1] {
        // Each piece overlaps the next one, so that no word is cut in two.
        let read = pread(memory, &buffer, min(buffer.count, Int(bounds[1] - start)), off_t(start))
        guard read > pattern.count else { break }
        found += buffer.withUnsafeBytes { bytes in
          var (count, place) = (0, bytes.baseAddress!)
          let last = place + (read - pattern.count)
          while place <= last, let next = memchr(place, CInt(pattern[0]), last - place + 1) {
            if memcmp(next, pattern, pattern.count) == 0 { count += 1 }
            place = UnsafeRawPointer(next) + 1
          }
          return count
        }
        start += UInt64(read == buffer.count ? read - pattern.count + 1 : read)
      }
    }
    return found
  }

  @Test func passwordsAreForgottenWhenTheyHaveBeenHashed() async throws {
    let system = try System(["--argon2-memory-kib", "16", "--argon2-time-cost", "1"])
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    let password = "correct horse battery staple \(UInt64.random(in: 1 ... .max))"
    let url = "http://127.0.0.1:\(system.port)/hash/argon2"
    let psql = "psql -h \(system.folder)/data/run -U millrace millrace -qAtc"
    let done = psql + " 'select count(*) from millrace.task where state = 2'"
    func hash(_ repetitions: Int, times: Int) async throws {
      let file = system.folder + "/body.json"
      let text = String(repeating: password, count: repetitions)
      try "{\"string\":\"\(text)\"}".write(toFile: file, atomically: false, encoding: .utf8)
      let json = "-H 'Content-Type: application/json' --data-binary @\(file)"
      _ = try await shell("curl -s -o /dev/null '\(url)#[1-\(times)]' \(json)")
    }
    func copies(in role: String) throws -> Int? {
      try count(password, in: try #require(system.processes(role).first))
    }

    try await hash(1, times: 2000)
    try #require(await eventually { (try? await shell(done)) == "2000\n" })
    guard geteuid() == 0 else {
      // Whoever is not root cannot look at all.
      let seen = try (copies(in: "millrace worker"), copies(in: "millrace api"))
      return #expect(seen == (nil, nil))
    }
    // In the API the last ones lie in buffers of connections until the next request comes on them.
    #expect(try #require(try copies(in: "millrace worker")) <= 4)
    #expect(try #require(try copies(in: "millrace api")) <= 16)
    // Memory that held long ones is not used again soon, so that much of them would be left.
    try await hash(5000, times: 20)
    try #require(await eventually { (try? await shell(done)) == "2020\n" })
    #expect(try #require(try copies(in: "millrace worker")) <= 4)
  }

  @Test func aSecretThatWasAFlagIsNotAmongWhatEverybodySees() async throws {
    let folder = TemporaryFolder()
    let output = open(folder.path + "/log", O_WRONLY | O_CREAT | O_CLOEXEC, 0o644)
    let pid = try ChildProcess.start(
      executable,
      [
        "balance", "--backend", "127.0.0.1:1", "--port", "\(FreePorts.first())", "--admin-token", "hunter2",
        "--expose-backend",
      ], output: output)
    close(output)
    defer { kill(pid, SIGKILL) }
    func line() -> String {
      let bytes = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
      return String(decoding: bytes, as: UTF8.self)
    }
    #expect(await eventually { line().contains("--admin-token\0****") })
    #expect(!line().contains("hunter2") && line().contains("--expose-backend"))
  }

  @Test func noRoleIsDumpedAndThoseWithPasswordsAreClosedToOthers() async throws {
    // Root may look into everything by one of its privileges, so for this test nobody has that one.
    let isRoot = geteuid() == 0
    let without = "setpriv --bounding-set=-sys_ptrace"
    let system = try System(preparation: isRoot ? "exec \(without) \"$0\" \"$@\"" : ":")
    defer { system.remove() }
    try #require(await system.waitFor("Ready"), "\(system.output)")
    for role in ["millrace balance", "millrace api", "millrace worker", "bin/postgres", "redis-server"] {
      let process = try #require(system.processes(role).first, "\(role)")
      let limits = try await shell("grep 'Max core file size' /proc/\(process)/limits").split(separator: " ")
      #expect(limits[4] == "0" && limits[5] == "0", "\(role): \(limits)")
    }
    for (role, isClosed) in [("millrace balance", false), ("millrace api", true), ("millrace worker", true)] {
      let process = try #require(system.processes(role).first, "\(role)")
      let look = "\(isRoot ? without : "") sh -c ': < /proc/\(process)/mem' 2>/dev/null; echo $?"
      #expect(try await (shell(look) != "0\n") == isClosed, "\(role)")
    }
  }
}
