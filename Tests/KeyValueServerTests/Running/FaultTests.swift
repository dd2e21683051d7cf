import Basics
import Foundation
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

/// Real servers that are killed, stopped, and whose disk is full or fails, while clients write down what they are told.
@Suite("Faults under keys", .serialized, .timeLimit(.minutes(5))) struct FaultTests {
  @Test("with two servers that come and go by kill -9, each key stays one that only one store could have")
  func kills() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let names = ["server-1", "server-2"]
      var servers = try names.map { try Self.start($0, in: folder, names) }
      let clients = KeyClients(keys: 10, servers.map(\.address))
      for server in servers { try await server.awaitAnswer(on: reactor) }
      clients.begin(20, on: reactor)
      var takeovers: [TimeSpan] = []
      for round in 0..<20 {
        await clients.await(writes: 25, on: reactor)
        let dies = round % 2
        // From now on the other one is asked, as a balancer would do.
        servers[dies].end()
        let began = MonotonicTime.current()
        clients.turn(to: 1 - dies)
        await clients.await(writes: 1, on: reactor)
        takeovers.append(MonotonicTime.current().since(began))
        servers[dies] = try Self.start(names[dies], in: folder, names)
        try await servers[dies].awaitAnswer(on: reactor)
      }
      await clients.end(on: reactor)
      let sorted = takeovers.map(\.milliseconds).sorted()
      print("20 kills: takeovers took \(sorted[0]) to \(sorted[19]) ms, \(sorted[10]) in the middle")
      try await clients.check(at: 1 - 19 % 2, on: reactor)
      for server in servers { server.end() }
    }
  }

  @Test("in PostgreSQL both servers serve all keys while one after the other is killed, and the database with them")
  func killsBesidePostgres() async throws {
    let folder = TemporaryFolder()
    let (database, flags) = try await Self.postgres()
    try await onReactor { reactor in
      func start(_ name: String) throws -> KeyValueProgram {
        try KeyValueProgram(name, in: folder.path, flags: flags + ["--max-versions", "100000"])
      }
      let names = ["server-1", "server-2"]
      var servers = try names.map { try start($0) }
      for server in servers { try await server.awaitAnswer(on: reactor) }
      let clients = KeyClients(keys: 10, servers.map(\.address))
      clients.begin(20, on: reactor)
      for round in 0..<6 {
        await clients.await(writes: 25, on: reactor)
        // Without that anybody has to give anything away.
        clients.turn(to: 1 - round % 2)
        await clients.await(writes: 25, on: reactor)
        if round == 3 { kill(try database.currentId(), SIGQUIT) }
        servers[round % 2].end()
        servers[round % 2] = try start(names[round % 2])
        try await servers[round % 2].awaitAnswer(on: reactor)
      }
      await clients.end(on: reactor)
      try await clients.check(at: 0, on: reactor)
      for server in servers { server.end() }
    }
    database.stop()
  }

  /// A PostgreSQL with our tables, and what leads there.
  private static func postgres() async throws -> (database: TestServer, flags: [String]) {
    let database = try TestServer(
      prepare: "RUN /usr/lib/postgresql/15/bin/initdb -D data -U postgres -A trust --no-sync -E UTF8 --locale=C",
      command: "/usr/lib/postgresql/15/bin/postgres -D data -k $PWD -c listen_addresses=",
      isReady: "/usr/lib/postgresql/15/bin/pg_isready -q -h $PWD -U postgres", stopSignal: "INT", isKeptUp: true)
    let host = ["--db-host", database.directory, "--db-name", "postgres"]
    #expect(try await shell("'\(executable)' migrate \(host.joined(separator: " "))").code == 0)
    return (database, ["--kv-engine", "postgres"] + host)
  }

  @Test("in PostgreSQL who watches from now on hears nothing of before, also of what another server is asked")
  func newWatchersBesidePostgres() async throws {
    let folder = TemporaryFolder()
    let (database, flags) = try await Self.postgres()
    try await onReactor { reactor in
      let names = ["server-1", "server-2"]
      let servers = try names.map { try KeyValueProgram($0, in: folder.path, peers: names, flags: flags) }
      let third = try KeyValueProgram("server-3", in: folder.path, flags: flags)
      for server in servers + [third] { try await server.awaitAnswer(on: reactor) }
      let client = HTTPClient()
      // Each of the two has those that stand there, and nobody tells it what the third one does.
      #expect(try await Self.send(.get, "/keys", "", to: servers[1], client, on: reactor).status == 200)
      func put(_ value: Int) async throws {
        for key in 0..<40 {
          let answer = try await Self.send(
            .put, "/put/k\(key)", #"{"value":\#(value)}"#, to: third, client, on: reactor)
          #expect(answer.status == 200)
        }
      }
      try await put(1)
      let events = try await EventReader(servers[1].address, "/watch", on: reactor)
      _ = await events.read(until: "\n\n", on: reactor)
      try await put(2)
      let told = await events.read(until: "}\n\n", times: 40, on: reactor)
      #expect(told.ranges(of: #""value":2,"#).count == 40 && !told.contains(#""value":1,"#), "\(told)")
      events.close(on: reactor)
      client.closeIdle(on: reactor)
      for server in servers + [third] { server.end() }
    }
    database.stop()
  }

  @Test("a server that is stopped keeps what it has: another one names it, and nobody is told that a key is not there")
  func pauses() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let names = ["server-1", "server-2"]
      let servers = try names.map { try Self.start($0, in: folder, names) }
      for server in servers { try await server.awaitAnswer(on: reactor) }
      let clients = KeyClients(keys: 10, servers.map(\.address))
      clients.begin(20, on: reactor)
      for _ in 0..<3 {
        await clients.await(writes: 20, on: reactor)
        servers[0].signal(SIGSTOP)
        let client = HTTPClient()
        for key in 0..<3 {
          let answer = try await client.send(
            HTTPClientRequest(.get, "/get/key-\(key)"), to: servers[1].address,
            until: reactor.now + .seconds(20 as UInt64), on: reactor)
          #expect(answer.status == 503 && String(decoding: answer.body, as: UTF8.self).contains("'server-1'"))
          #expect(answer.field("retry-after") == "1")
          // The log is written behind the answer.
          let id = try #require(answer.field("x-request-id"))
          while !servers[1].output.contains(id) { await reactor.sleep(for: .milliseconds(5)) }
        }
        client.closeIdle(on: reactor)
        servers[0].signal(SIGCONT)
      }
      await clients.end(on: reactor)
      try await clients.check(at: 0, on: reactor)
      for server in servers { server.end() }
    }
  }

  @Test("servers that are stopped in good order one after the other refuse what they do not have, and lose nothing")
  func rollingRestart() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let names = ["server-1", "server-2"]
      var servers = try names.map { try Self.start($0, in: folder, names) }
      for server in servers { try await server.awaitAnswer(on: reactor) }
      let clients = KeyClients(keys: 10, servers.map(\.address))
      clients.begin(20, on: reactor)
      for round in 0..<4 {
        await clients.await(writes: 25, on: reactor)
        let leaves = round % 2
        // Those who ask the other one now get its partitions without that this one dies.
        clients.turn(to: 1 - leaves)
        await clients.await(writes: 25, on: reactor)
        servers[leaves].end(SIGTERM)
        servers[leaves] = try Self.start(names[leaves], in: folder, names)
        try await servers[leaves].awaitAnswer(on: reactor)
      }
      await clients.end(on: reactor)
      try await clients.check(at: 1 - 3 % 2, on: reactor)
      for server in servers { server.end() }
    }
  }

  @Test(
    "through a balancer, whichever of three servers are killed, stopped or restarted, each key stays one store's",
    arguments: [false, true])
  func balanced(isInPostgres: Bool) async throws {
    let folder = TemporaryFolder()
    let postgres = isInPostgres ? try await Self.postgres() : nil
    let flags = postgres?.flags ?? []
    try await onReactor { reactor in
      let names = ["server-1", "server-2", "server-3"]
      var servers = try names.map { try Self.start($0, in: folder, names, flags) }
      for server in servers { try await server.awaitAnswer(on: reactor) }
      let balancer = try KeyValueProgram.balancer(before: names, in: folder.path)
      try await balancer.awaitAnswer(on: reactor)
      let clients = KeyClients(keys: 10, [balancer.address])
      clients.begin(20, on: reactor)
      var random = SeededRandom(seed: UInt64(clients.seed))
      for round in 0..<12 {
        await clients.await(writes: 50, on: reactor)
        let server = Int.random(in: 0..<3, using: &random)
        switch round % 3 {
        case 0: servers[server].end()
        case 1: servers[server].end(SIGTERM)
        default:
          // What it has in files nobody else may have: two thirds of the keys go on.
          servers[server].signal(SIGSTOP)
          await clients.await(writes: 10, on: reactor)
          servers[server].signal(SIGCONT)
          continue
        }
        await clients.await(writes: 50, on: reactor)
        servers[server] = try Self.start(names[server], in: folder, names, flags)
        try await servers[server].awaitAnswer(on: reactor)
      }
      await clients.end(on: reactor)
      try await clients.check(at: 0, on: reactor)
      for server in servers + [balancer] { server.end() }
    }
    postgres?.database.stop()
  }

  private static func start(
    _ name: String, in folder: TemporaryFolder, _ names: [String], _ flags: [String] = []
  ) throws -> KeyValueProgram {
    try KeyValueProgram(name, in: folder.path, peers: names, flags: flags + ["--max-versions", "100000"])
  }

  // MARK: Disks

  private static func send(
    _ method: HTTPMethod, _ target: String, _ body: String = "", to server: KeyValueProgram, _ client: HTTPClient,
    on reactor: isolated Reactor
  ) async throws -> HTTPClientResponse {
    try await client.send(
      HTTPClientRequest(method, target, body: Array(body.utf8)), to: server.address,
      until: reactor.now + .seconds(20 as UInt64), on: reactor)
  }

  @Test("on a full disk writes are refused with 507, reads go on, and writes do again when there is room")
  func fullDisk() async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      mkdir(folder.path + "/kv", 0o755)
      let ballast = "\(folder.path)/kv/ballast"
      let prepare = "mount -t tmpfs -o size=4m tmpfs '\(folder.path)/kv' && head -c 1000000 /dev/zero >\(ballast)"
      let mount = prepare + " && exec \"$0\" \"$@\""
      let server = try KeyValueProgram(
        in: folder.path, flags: ["--partitions", "1", "--kv-cache-entries", "1"],
        before: ["unshare", "-m", "/bin/sh", "-c", mount])
      try await server.awaitAnswer(on: reactor)
      let client = HTTPClient()
      let value = "\"" + String(repeating: "v", count: 200_000) + "\""
      var stored = 0
      var refusal: HTTPClientResponse?
      while refusal == nil, stored < 100 {
        let answer = try await Self.send(
          .put, "/put/k\(stored)", #"{"value":\#(value)}"#, to: server, client, on: reactor)
        if answer.status == 200 { stored += 1 } else { refusal = answer }
      }
      #expect(refusal?.status == 507 && stored > 3, "\(stored): \(refusal?.status ?? 0) \(server.output)")
      for number in 0..<stored {
        #expect(try await Self.send(.get, "/get/k\(number)", to: server, client, on: reactor).status == 200)
      }
      #expect(try await Self.send(.get, "/get/k\(stored)", to: server, client, on: reactor).status == 404)
      // What the server sees as its disk.
      #expect(unlink("/proc/\(server.pid)/root\(ballast)") == 0)
      let again = try await Self.send(
        .put, "/put/k\(stored)", #"{"value":\#(value)}"#, to: server, client, on: reactor)
      #expect(again.status == 200 && String(decoding: again.body, as: UTF8.self).contains(#""version":1"#))
      client.closeIdle(on: reactor)
      server.end()
    }
  }

  @Test(
    "a call that fails is never a success: what it was for is answered with 503, and all else is still there",
    arguments: [("fdatasync,fsync", "12+5"), ("pwrite64", "60+17")])
  func failedCalls(calls: String, times: String) async throws {
    let folder = TemporaryFolder()
    try await onReactor { reactor in
      let prepared = try KeyValueProgram(in: folder.path, flags: ["--partitions", "1"])
      try await prepared.awaitAnswer(on: reactor)
      let client = HTTPClient()
      #expect(
        try await Self.send(.put, "/put/a", #"{"value":0}"#, to: prepared, client, on: reactor).status == 200)
      prepared.end()
      // The tracer is the grandchild: who ends the server does not only end its tracer.
      // Some of these calls fail from some time on, whatever the kernel would have done.
      let server = try KeyValueProgram(
        in: folder.path,
        before: [
          "strace", "-D", "-f", "-qq", "-o", "\(folder.path)/trace", "-e", "trace=\(calls)", "-e",
          "inject=\(calls):error=EIO:when=\(times)",
        ])
      try await server.awaitAnswer(on: reactor)
      var (known, failures) = (0, 0)
      var mayBe: Set = [0]
      for number in 1...20 {
        let answer = try await Self.send(
          .put, "/put/a", #"{"value":\#(number)}"#, to: server, client, on: reactor)
        if answer.status == 200 {
          (known, mayBe) = (number, [number])
        } else {
          #expect(answer.status == 503, "\(answer.status)")
          failures += 1
          mayBe.insert(number)
        }
        let read = try await Self.send(.get, "/get/a", to: server, client, on: reactor)
        // It is 503 while the file cannot be opened, and never an older value or none.
        #expect(read.status == 200 || read.status == 503, "\(read.status)")
        if read.status == 200 {
          let text = String(decoding: read.body, as: UTF8.self)
          let value = try #require(text.firstMatch(of: /"value":([0-9]+)/).flatMap { Int($0.1) })
          #expect(mayBe.contains(value), "\(value) of \(mayBe)")
          mayBe = [value]
        }
      }
      #expect(failures > 0 && known > 0, "\(failures) failed, \(server.output.suffix(2000))")
      client.closeIdle(on: reactor)
      server.end()
      let again = try KeyValueProgram(in: folder.path)
      try await again.awaitAnswer(on: reactor)
      let last = try await Self.send(.get, "/get/a", to: again, client, on: reactor)
      let text = String(decoding: last.body, as: UTF8.self)
      #expect(mayBe.contains(text.firstMatch(of: /"value":([0-9]+)/).flatMap { Int($0.1) } ?? -1), "\(text)")
      client.closeIdle(on: reactor)
      again.end()
    }
  }
}
