@testable import Balancer
import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@Suite("Backend sets", .timeLimit(.minutes(2))) struct BackendSetTests {
  private static func get(_ path: String) -> String {
    "GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
  }

  private static func call(_ method: String, _ path: String, _ body: String = "") -> String {
    "\(method) \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
      + "Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
  }

  /// Asks again and again until `path` is answered with something that `isWanted`, or the time is over.
  private static func until(
    _ path: String, _ address: SocketAddress, on reactor: isolated Reactor, _ isWanted: (String) -> Bool
  ) async -> String {
    let deadline = reactor.now + .seconds(10 as UInt64)
    var answer = ""
    while reactor.now < deadline {
      answer = await exchange(get(path), address, on: reactor)
      if isWanted(answer) { break }
    }
    return answer
  }

  @Test("backends come, drain and leave at run time, for admins only, and their counters follow them")
  func comingAndGoing() async throws {
    let log = try await onReactor { reactor -> [String] in
      let (one, first) = try! OriginServer.start("1", on: reactor)
      let (two, second) = try! OriginServer.start("2", on: reactor)
      let balancer = try! await startBalancer([first], on: reactor)
      var log: [String] = []
      let new = #"{"backend":"b2=\#(second.description)*3"}"#
      for request in [
        Self.call("POST", "/lb/backends", new).replacing("Host: localhost", with: "Host: evil.example"),
        Self.call("POST", "/lb/backends", #"{"backend":"nonsense"}"#), Self.call("POST", "/lb/backends", new),
        Self.call("POST", "/lb/backends", new),
      ] {
        log.append(String(await exchange(request, balancer.address, on: reactor).prefix(12)))
      }
      log.append(await Self.until("/who", balancer.address, on: reactor) { $0.hasSuffix("\r\n2") })
      log.append(
        await exchange(Self.call("PATCH", "/lb/backends/b1", #"{"state":"drain"}"#), balancer.address, on: reactor))
      // Each reactor follows by message; from then on only the other one answers.
      var names: Set<String> = []
      for _ in 0..<10 {
        names.insert(String(await exchange(Self.get("/who"), balancer.address, on: reactor).suffix(1)))
      }
      log.append(names.joined())
      log.append(await exchange(Self.call("DELETE", "/lb/backends/b1"), balancer.address, on: reactor))
      log.append(await exchange(Self.call("DELETE", "/lb/backends/b1"), balancer.address, on: reactor))
      log.append(await exchange(Self.get("/lb/stats"), balancer.address, on: reactor))
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      for server in [one, two] { await server.drain(until: reactor.now, on: reactor) }
      return log
    }
    #expect(log[0...3] == ["HTTP/1.1 401", "HTTP/1.1 422", "HTTP/1.1 201", "HTTP/1.1 409"])
    #expect(log[4].hasSuffix("\r\n2"))
    #expect(log[5].hasPrefix("HTTP/1.1 200 ") && log[6] == "2")
    #expect(log[7].hasPrefix("HTTP/1.1 200 ") && log[8].hasPrefix("HTTP/1.1 404 "))
    #expect(!log[9].contains(#""name":"b1""#) && log[9].contains(#""weight":3"#) && !log[9].contains(#""requests":0,"#))
  }

  @Test("names that could end a field, port 0 and relative paths are refused, at the start and at run time")
  func names() {
    for text in [
      "e\r\nX-Evil: yes=127.0.0.1:80", "a\"b=127.0.0.1:80", "a b=127.0.0.1:80", "a\\b=127.0.0.1:80", "x=127.0.0.1:0",
      "x=unix:relative", "=127.0.0.1:80", String(repeating: "n", count: 256) + "=127.0.0.1:80",
    ] {
      #expect(BalancerConfiguration.BackendAddress(text) == nil, "\(text)")
    }
    let full = BalancerConfiguration.BackendAddress("api-1=unix:/run/a.sock*3?resets=unread")
    #expect(full?.name == "api-1" && full?.weight == 3 && full?.vouchesForResets == true)
  }

  @Test("an operator's order outlives changes of other backends, and newcomers have figures") func ordersLast()
    async throws
  {
    let folder = TemporaryFolder()
    defer { withExtendedLifetime(folder) {} }
    let directory = folder.path
    let (stats, metrics) = try await onReactor { reactor -> (String, String) in
      let (one, first) = try! OriginServer.start("1", at: "unix:\(directory)/1", on: reactor)
      let (two, second) = try! OriginServer.start("2", on: reactor)
      let balancer = try! await startBalancer([first], on: reactor)
      for request in [
        Self.call("PATCH", "/lb/backends/b1", #"{"state":"down"}"#),
        Self.call("POST", "/lb/backends", #"{"backend":"fresh=\#(second.description)"}"#),
        Self.call("PATCH", "/lb/backends/fresh", #"{"weight":7}"#),
      ] {
        _ = await exchange(request, balancer.address, on: reactor)
      }
      let answer = await Self.until("/who", balancer.address, on: reactor) { $0.hasSuffix("\r\n2") }
      #expect(answer.hasSuffix("\r\n2"))
      let stats = await exchange(Self.get("/lb/stats"), balancer.address, on: reactor)
      let metrics = await exchange(Self.get("/metrics"), balancer.address, on: reactor)
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      for server in [one, two] { await server.drain(until: reactor.now, on: reactor) }
      return (stats, metrics)
    }
    #expect(stats.contains(#""state":"disabled""#) && stats.contains(#""weight":7"#))
    #expect(metrics.contains(#"millrace_balancer_backend_requests_total{backend="fresh"}"#))
  }

  @Test("a set that is replaced again and again under load fails no request") func replacedUnderLoad() async throws {
    let wrong = try await onReactor { reactor -> [String] in
      var servers: [HTTPServer] = []
      var addresses: [SocketAddress] = []
      for number in 0..<4 {
        let (server, address) = try! OriginServer.start("\(number)", on: reactor)
        servers.append(server)
        addresses.append(address)
      }
      let balancer = try! await startBalancer(addresses, on: reactor) { $0.reactors = 2 }
      let all = addresses.enumerated().map { BalancerConfiguration.BackendAddress(name: "b\($0 + 1)", address: $1) }
      let clients = (0..<6).map { _ in
        Task.immediate(executorPreference: reactor.queue) { () -> [String] in
          let client = HTTPClient()
          var wrong: [String] = []
          for step in 0..<200 {
            let request = HTTPClientRequest(.get, "/echo/\(step)")
            let answer = try? await client.send(
              request, to: balancer.address, until: reactor.now + .seconds(5 as UInt64), on: reactor)
            let text = answer.map { "\($0.status) \(String(decoding: $0.body, as: UTF8.self))" } ?? "-"
            if text != "200 echo \(step)" { wrong.append(text) }
          }
          client.closeIdle(on: reactor)
          return wrong
        }
      }
      // The first one stays; the others come and go, so that somebody was always well before.
      for round in 0..<60 {
        balancer.replaceBackends(by: round % 2 == 0 ? [all[0], all[1 + round % 3]] : all.reversed())
        await reactor.sleep(for: .milliseconds(2))
      }
      var wrong: [String] = []
      for client in clients { wrong += await client.value }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      for server in servers { await server.drain(until: reactor.now, on: reactor) }
      return wrong
    }
    #expect(wrong == [])
  }
}
