@testable import Backends
@testable import Balancer
import Basics
import HTTP
import HTTPSyntax
import Reactor
import TestSupport
import Testing

@Suite("Backend sets", .timeLimit(.minutes(5))) struct BackendSetTests {
  private static func get(_ path: String) -> String {
    "GET \(path) HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
  }

  @Test("backends come, drain and leave at run time, for admins only, and their counters follow them")
  func comingAndGoing() async throws {
    let log = try await withBalancer(.server("1"), .server("2")) { fixture, reactor in
      fixture.balancer.replaceBackends(by: [.init(name: "b1", address: fixture.addresses[0])])
      var log: [String] = []
      let new = #"{"backend":"b3=\#(fixture.addresses[1].description)*3"}"#
      for text in [
        request("POST /lb/backends", body: new, host: "evil.example"),
        request("POST /lb/backends", body: #"{"backend":"nonsense"}"#), request("POST /lb/backends", body: new),
        request("POST /lb/backends", body: new),
      ] {
        log.append(String(await fixture.ask(text, on: reactor).prefix(12)))
      }
      let who = request("GET /who")
      log.append(await fixture.ask(who, on: reactor) { $0.hasSuffix("\r\n2") })
      log.append(await fixture.ask(request("PATCH /lb/backends/b1", body: #"{"state":"drain"}"#), on: reactor))
      // Each reactor follows by message; from then on only the other one answers.
      var names: Set<Character?> = []
      for _ in 0..<10 { names.insert(await fixture.ask(who, on: reactor).last) }
      log.append(String(names.compactMap(\.self)))
      for _ in 0..<2 { log.append(await fixture.ask(request("DELETE /lb/backends/b1"), on: reactor)) }
      log.append(await fixture.stats(on: reactor))
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
      #expect(BackendAddress(text) == nil, "\(text)")
    }
    let full = BackendAddress("api-1=unix:/run/a.sock*3?resets=unread")
    #expect(full?.name == "api-1" && full?.weight == 3 && full?.vouchesForResets == true)
  }

  @Test("an operator's order outlives changes of other backends, and newcomers have figures") func ordersLast()
    async throws
  {
    let (stats, metrics) = try await withBalancer(.server("1", at: .unix), .server("2")) { fixture, reactor in
      fixture.balancer.replaceBackends(by: [.init(name: "b1", address: fixture.addresses[0])])
      for text in [
        request("PATCH /lb/backends/b1", body: #"{"state":"down"}"#),
        request("POST /lb/backends", body: #"{"backend":"fresh=\#(fixture.addresses[1].description)"}"#),
        request("PATCH /lb/backends/fresh", body: #"{"weight":7}"#),
      ] {
        _ = await fixture.ask(text, on: reactor)
      }
      let answer = await fixture.ask(request("GET /who"), on: reactor) { $0.hasSuffix("\r\n2") }
      #expect(answer.hasSuffix("\r\n2"))
      return (await fixture.stats(on: reactor), await fixture.ask(request("GET /metrics"), on: reactor))
    }
    #expect(stats.contains(#""state":"disabled""#) && stats.contains(#""weight":7"#))
    #expect(metrics.contains(#"millrace_balancer_backend_requests_total{backend="fresh"}"#))
  }

  @Test("a set that is replaced again and again under load fails no request") func replacedUnderLoad() async throws {
    let wrong = try await withBalancer(.server("0"), .server("1"), .server("2"), .server("3")) {
      $0.reactors = 2
    } run: { fixture, reactor in
      let all = fixture.addresses.enumerated().map {
        BackendAddress(name: "b\($0 + 1)", address: $1)
      }
      let clients = (0..<6).map { _ in
        Task.immediate(executorPreference: reactor.queue) { () -> [String] in
          let client = HTTPClient()
          var wrong: [String] = []
          for step in 0..<200 {
            // The first one stays; the others come and go, so that somebody was always well before.
            if step % 3 == 0 {
              let round = step / 3
              fixture.balancer.replaceBackends(by: round % 2 == 0 ? [all[0], all[1 + round % 3]] : all.reversed())
            }
            let answer = try? await client.send(
              HTTPClientRequest(.get, "/echo/\(step)"), to: fixture.address,
              until: reactor.now + .seconds(5 as UInt64), on: reactor)
            let text = answer.map { "\($0.status) \(String(decoding: $0.body, as: UTF8.self))" } ?? "-"
            if text != "200 echo \(step)" { wrong.append(text) }
          }
          client.closeIdle(on: reactor)
          return wrong
        }
      }
      var wrong: [String] = []
      for client in clients { wrong += await client.value }
      return wrong
    }
    #expect(wrong == [])
  }
}
