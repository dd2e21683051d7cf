@testable import Balancer
import Basics
import Glibc
import HTTP
import Reactor
import Telemetry
import TestSupport
import Testing

@Suite("Failures", .timeLimit(.minutes(2))) struct FailureTests {
  private static let get = "GET /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
  private static let post = "POST /p HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
  private static let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

  /// Serves one request on each connection and then closes it in the way that `ending` says.
  private enum Ending: Sendable {
    /// Closes the second request's connection without having read it, just behind the request: what an idle timeout
    /// does at the worst moment.
    case closesUnread
    /// Closes it just before.
    case closesBefore
    /// Reads the second request and closes without an answer.
    case closesRead
  }

  /// Two requests on one client connection, the second one on a backend connection that ends.
  private func race(
    _ second: String, _ ending: Ending, listen: String, isVouchedFor: Bool = false
  ) async throws -> (client: String, requests: Int) {
    try await onReactor { reactor in
      let backend = RawBackend { (connection, reactor) in
        guard await connection.nextRequest(on: reactor) else { return connection.stream.close(on: reactor) }
        connection.send(Self.ok, on: reactor)
        if connection.received.contains("GET /first") {
          switch ending {
          case .closesUnread, .closesBefore: return  // The test closes it from outside, at the moment it chooses.
          case .closesRead:
            await connection.read(until: "hello", on: reactor)
            connection.stream.close(on: reactor)
          }
        } else {
          await connection.read(on: reactor)
        }
      }
      let address = try! backend.start(listen, on: reactor)
      let balancer = try! await startBalancer([address], on: reactor) {
        $0.healthInterval = .seconds(60 as UInt64)
        $0.backends[0].vouchesForResets = isVouchedFor
      }
      let client = try! await RawConnection.connect(to: balancer.address, on: reactor)
      client.send("GET /first HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      await client.read(until: "\r\n\r\nok", on: reactor)
      let kept = backend.connections.first { $0.received.contains("GET /first") }
      // Both in one turn: the balancer may get the request before it can see the end of its kept connection.
      if ending == .closesBefore { kept?.stream.close(on: reactor) }
      client.send(second, on: reactor)
      if ending == .closesUnread { kept?.stream.close(on: reactor) }
      let answer = await client.read(on: reactor)
      client.stream.close(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      backend.stop(on: reactor)
      let requests = backend.received.reduce(0) { $0 + $1.components("/p HTTP/1.1") }
      return (answer, requests)
    }
  }

  @Test("a POST that meets a connection which the backend is closing is neither lost nor doubled")
  func keepAliveRace() async throws {
    var honestErrors = 0
    for round in 0..<40 {
      // Where nobody vouches for the backend, only an end that came first proves that it has read nothing.
      let vouched = round % 2 == 0
      let seen = try await race(
        Self.post, vouched ? .closesUnread : .closesBefore, listen: "127.0.0.1:0", isVouchedFor: vouched)
      // A busy kernel may deliver the end behind the request, and then it proves nothing: an error, and nothing done.
      if !vouched, seen.requests == 0, seen.client.contains("HTTP/1.1 502 ") {
        honestErrors += 1
        continue
      }
      #expect(seen.client.components("HTTP/1.1 200 OK") == 2, "round \(round): \(seen.client)")
      #expect(seen.requests == 1, "round \(round)")
    }
    // Two of twenty are far more than the one in some hundreds that a loaded machine was seen to make.
    #expect(honestErrors <= 2)
  }

  @Test("a POST that the backend has read is not sent again, a GET is")
  func readAndClosed() async throws {
    let post = try await race(Self.post, .closesRead, listen: "127.0.0.1:0")
    #expect(post.client.contains("HTTP/1.1 502 "))
    #expect(post.requests == 1)
    let put = try await race(
      Self.post.replacing("POST", with: "PUT"), .closesRead, listen: "127.0.0.1:0")
    #expect(put.client.components("HTTP/1.1 200 OK") == 2)
    #expect(put.requests == 2)
  }

  @Test("a refused connection costs nobody an answer while another backend lives")
  func refused() async throws {
    let answers = try await onReactor { reactor -> [String] in
      let (one, first) = try! OriginServer.start("1", on: reactor)
      let (two, second) = try! OriginServer.start("2", on: reactor)
      let balancer = try! await startBalancer([first, second], on: reactor) {
        $0.healthInterval = .seconds(60 as UInt64)
      }
      await one.drain(until: reactor.now, on: reactor)
      var answers: [String] = []
      for _ in 0..<8 {
        answers.append(
          await exchange(
            "POST /count HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", balancer.address,
            on: reactor))
      }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await two.drain(until: reactor.now, on: reactor)
      return answers
    }
    #expect(answers.allSatisfy { $0.hasPrefix("HTTP/1.1 200 OK") })
    #expect(answers.compactMap(\.last) == ["1", "2", "3", "4", "5", "6", "7", "8"])
  }

  @Test("without any backend the answer is 503, with a request id and the time to try again")
  func noBackend() async throws {
    let answers = try await onReactor { reactor -> [String] in
      let (one, first) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([first], on: reactor) { $0.healthInterval = .milliseconds(20) }
      await one.drain(until: reactor.now, on: reactor)
      var answers = [await exchange(Self.get, balancer.address, on: reactor)]
      let lonely = try! BalancerInstance(
        BalancerConfiguration(
          listen: SocketAddress("127.0.0.1:0")!, backends: [.init(name: "none", address: SocketAddress("127.0.0.1:1")!)]
        ),
        log: silentLog, metrics: sharedMetrics)
      answers.append(await exchange(Self.get, lonely.address, on: reactor))
      answers.append(await exchange(Self.get.replacing("/p", with: "/readyz"), lonely.address, on: reactor))
      for instance in [balancer, lonely] {
        instance.drain(within: .milliseconds(100))
        instance.join()
      }
      return answers
    }
    #expect(answers[0].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[0].contains("Retry-After: 1\r\n"))
    #expect(answers[0].contains("\"request_id\":\""))
    #expect(answers[1].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[1].contains("Retry-After: 1\r\n"))
    #expect(answers[2].hasPrefix("HTTP/1.1 503 "))
    #expect(answers[2].contains(#"{"status":"not ready","waiting_for":["none"]}"#))
  }

  @Test("a backend that comes back gets traffic again, and one that never was well gets none")
  func comesBack() async throws {
    // A port could be somebody else's by the time that it is wanted again.
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let names = try await onReactor { reactor -> [String] in
      let (one, first) = try! OriginServer.start("1", on: reactor)
      let (two, second) = try! OriginServer.start("2", at: "unix:\(directory)/2", on: reactor)
      await two.drain(until: reactor.now, on: reactor)
      let balancer = try! BalancerInstance(
        testConfiguration([first, second]) { $0.healthInterval = .milliseconds(10) }, log: silentLog,
        metrics: sharedMetrics)
      let client = HTTPClient()
      func ask() async -> String {
        let answer = try? await client.send(
          HTTPClientRequest(.get, "/who"), to: balancer.address, until: reactor.now + .seconds(5 as UInt64), on: reactor
        )
        return answer.map { "\($0.status) \(String(decoding: $0.body, as: UTF8.self))" } ?? "-"
      }
      while await !ask().hasPrefix("200") { await reactor.sleep(for: .milliseconds(5)) }
      var names: [String] = []
      for _ in 0..<6 { names.append(await ask()) }
      let (again, _) = try! OriginServer.start("2", at: second.description, on: reactor)
      while await ask() != "200 2" { await reactor.sleep(for: .milliseconds(5)) }
      client.closeIdle(on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      for server in [one, again] { await server.drain(until: reactor.now, on: reactor) }
      return names
    }
    #expect(names == Array(repeating: "200 1", count: 6))
  }

  @Test("draining lets a request in progress end, and refuses new connections")
  func drain() async throws {
    let log = try await onReactor { reactor -> [String] in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let idle = try! await RawConnection.connect(to: balancer.address, on: reactor)
      let busy = try! await RawConnection.connect(to: balancer.address, on: reactor)
      busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      await reactor.sleep(for: .milliseconds(50))
      balancer.drain(within: .seconds(10 as UInt64))
      let nothing = await idle.read(on: reactor)
      let refused = await exchange(Self.get, balancer.address, on: reactor)
      let answer = await busy.read(on: reactor)
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return [nothing, refused, answer]
    }
    #expect(log[0] == "")
    #expect(log[1] == "connect: Connection refused")
    #expect(log[2].contains("Connection: close\r\n"))
    #expect(log[2].hasSuffix("\r\n\r\nslow"))
  }

  @Test("a first request over a Unix socket may take longer than connecting may")
  func slowFirstAnswer() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let answer = try await onReactor { reactor -> String in
      let (server, address) = try! OriginServer.start("unix", at: "unix:\(directory)/s", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let request = Self.get.replacing("/p", with: "/longer-than-connecting")
      let answer = await exchange(request, balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.hasSuffix("\r\n\r\nat last"))
  }

  @Test("a Unix socket backend is balanced like any other")
  func unixBackend() async throws {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let answer = try await onReactor { reactor -> String in
      let (server, address) = try! OriginServer.start("unix", at: "unix:\(directory)/s", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let answer = await exchange(Self.get.replacing("/p", with: "/who"), balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return answer
    }
    #expect(answer.hasSuffix("\r\n\r\nunix"))
    let race = try await race(Self.post, .closesUnread, listen: "unix:\(directory)/r", isVouchedFor: true)
    #expect(race.client.components("HTTP/1.1 200 OK") == 2)
    #expect(race.requests == 1)
  }

  @Test("a client that leaves, or that only stops sending, leaves nothing in flight behind")
  func leavingClients() async throws {
    let (half, stats) = try await onReactor { reactor -> (String, String) in
      let (server, address) = try! OriginServer.start("1", on: reactor)
      let balancer = try! await startBalancer([address], on: reactor)
      let half = try! await RawConnection.connect(to: balancer.address, on: reactor)
      half.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", on: reactor)
      half.stream.shutdownWriting(on: reactor)
      for text in [
        "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n", "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf",
        "GET /slow HTTP/1.1\r\nHost",
      ] {
        let gone = try! await RawConnection.connect(to: balancer.address, on: reactor)
        gone.send(text, on: reactor)
        await reactor.sleep(for: .milliseconds(20))
        gone.stream.close(on: reactor)
      }
      let served = await half.read(on: reactor)
      half.stream.close(on: reactor)
      var stats = ""
      for _ in 0..<200 where !stats.contains("\"in_flight\":0") {
        await reactor.sleep(for: .milliseconds(10))
        stats = await exchange(Self.get.replacing("/p", with: "/lb/stats"), balancer.address, on: reactor)
      }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      await server.drain(until: reactor.now, on: reactor)
      return (served, stats)
    }
    #expect(half.hasSuffix("\r\n\r\nslow"))
    #expect(stats.contains("\"in_flight\":0"))
    #expect(stats.contains("\"errors\":0"))
  }
}
