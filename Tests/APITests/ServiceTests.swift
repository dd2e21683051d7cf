import Backends
import Basics
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import Telemetry
import TestSupport
import Testing
import Tokens

@testable import API
@testable import ComputeService

// One after the other with all others, which wait for answers that a busy machine would delay.
extension APITests {
  @Suite("Compute services", .timeLimit(.minutes(5))) struct ServiceTests {
    /// What stands in the place of a service, and what it was asked with.
    private final class Script {
      var response = HTTPResponse.json(200, Array(#"{"message":"done","service_id":"a"}"#.utf8))
      var delay = TimeSpan.milliseconds(0)
      var asked: [(id: String?, trace: String?)] = []
    }

    private static func serve(_ script: Script, on reactor: isolated Reactor) throws -> (HTTPServer, SocketAddress) {
      let router = Router(script)
      router.on(.get, "/health", .open) { (_, _, _) throws(Problem) in .text(200, "well") }
      router.on(.get, "/process", .open) { (script, request, reactor) throws(Problem) in
        script.asked.append((request.text(of: .xRequestID), request.text(of: .traceparent)))
        await reactor.sleep(for: script.delay)
        return script.response
      }
      let server = HTTPServer(handler: router, metrics: HTTPServerMetrics(Metrics()), log: quiet)
      return (server, try server.listen(on: SocketAddress("127.0.0.1:0")!, on: reactor))
    }

    private static func plan(_ addresses: [SocketAddress]) -> BackendPlan {
      let backends = addresses.enumerated().map { BackendAddress(name: "s\($0 + 1)", address: $1) }
      return BackendPlan(backends, agent: "test", metricsPrefix: "millrace_services")
    }

    /// An API before `addresses`, and a token that it believes.
    private static func start(
      _ name: String, _ addresses: [SocketAddress], patience: TimeSpan = .seconds(10 as UInt64),
      on reactor: isolated Reactor
    ) async throws -> (api: APIHarness, fields: [(name: String, value: String)]) {
      try await APIHarness.startForUser(
        name,
        {
          $0.services = addresses.isEmpty ? nil : plan(addresses)
          $0.servicePatience = patience
        }, on: reactor)
    }

    @Test("an answer names who has computed it and who has asked, and a service learns which request it is part of")
    func answer() async throws {
      let (answer, asked) = try await onReactor { reactor in
        let script = Script()
        let (server, address) = try Self.serve(script, on: reactor)
        let (api, fields) = try await Self.start("service_answer", [address], on: reactor)
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        let answer = try await api.send(
          .get, "/process", fields: fields + [("X-Request-Id", "mine-17"), ("traceparent", trace)], on: reactor)
        await api.stop(on: reactor)
        await server.drain(until: reactor.now, on: reactor)
        return (answer, script.asked.map { [$0.id, $0.trace] })
      }
      #expect(answer.status == 200)
      #expect(answer.text == #"{"message":"done","service_id":"a","gateway_id":"api-1"}"#)
      #expect(asked == [["mine-17", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]])
    }

    @Test("what is no answer is 502, one that comes too late 504, and without a service it is 503 with Retry-After")
    func failures() async throws {
      let answers = try await onReactor { reactor in
        let script = Script()
        let (server, address) = try Self.serve(script, on: reactor)
        let (api, fields) = try await Self.start(
          "service_failures", [address], patience: .milliseconds(500), on: reactor)
        var answers: [HTTPClientResponse] = []
        for response in [
          HTTPResponse.text(200, "no JSON"), .json(200, Array(#"{"message":"m"}"#.utf8)), .text(500, ""),
          .json(200, Array(#"{"message":1,"service_id":"a"}"#.utf8)),
        ] {
          script.response = response
          answers.append(try await api.send(.get, "/process", fields: fields, on: reactor))
        }
        script.delay = .seconds(3 as UInt64)
        answers.append(try await api.send(.get, "/process", fields: fields, on: reactor))
        await api.stop(on: reactor)
        await server.drain(until: reactor.now, on: reactor)
        let (lonely, others) = try await Self.start("service_none", [], on: reactor)
        answers.append(try await lonely.send(.get, "/process", fields: others, on: reactor))
        await lonely.stop(on: reactor)
        let gone = try await Self.start("service_gone", [SocketAddress("127.0.0.1:1")!], on: reactor)
        answers.append(try await gone.api.send(.get, "/process", fields: gone.fields, on: reactor))
        await gone.api.stop(on: reactor)
        return answers
      }
      #expect(answers.map(\.status) == [502, 502, 502, 502, 504, 503, 503])
      #expect(answers.suffix(2).allSatisfy { $0.field("retry-after") == "1" })
      #expect(answers.allSatisfy { $0.field("content-type") == "application/problem+json" })
      // Nothing of the inside.
      #expect(!answers.contains { $0.text.contains("s1") || $0.text.contains("JSON") })
    }

    @Test("while none can be reached a request waits for a moment, and is answered as soon as one has come")
    func waiting() async throws {
      let status = try await onReactor { reactor in
        let script = Script()
        let (first, address) = try Self.serve(script, on: reactor)
        let (api, fields) = try await Self.start("service_waiting", [address], on: reactor)
        #expect(try await api.send(.get, "/process", fields: fields, on: reactor).status == 200)
        await first.drain(until: reactor.now, on: reactor)
        let asked = Task.immediate(executorPreference: reactor.queue) {
          try await api.send(.get, "/process", fields: fields, on: reactor).status
        }
        await reactor.sleep(for: .milliseconds(50))
        let second = HTTPServer(
          handler: ComputeServiceProcess.routes(ComputeServiceConfiguration(), metrics: Metrics()),
          metrics: HTTPServerMetrics(Metrics()), log: quiet)
        try second.listen(on: address, on: reactor)
        let status = try await asked.value
        await api.stop(on: reactor)
        await second.drain(until: reactor.now, on: reactor)
        return status
      }
      #expect(status == 200)
    }

    @Test("a value and what a service says beside it: asked for once a minute, by all who want it at the same time")
    func complex() async throws {
      try await onReactor { reactor in
        let script = Script()
        script.delay = .milliseconds(50)
        let (server, address) = try Self.serve(script, on: reactor)
        let (api, fields) = try await Self.start("service_complex", [address], on: reactor)
        func ask(_ id: String) async throws -> HTTPClientResponse {
          try await api.send(.get, "/data/complex?id=\(id)", fields: fields, on: reactor)
        }
        let row = #""db_data":{"id":1,"name":"first item"},"service_data":{"message":"done","service_id":"a"},"#
        let first = try await ask("1")
        #expect(first.text.hasPrefix(#"{"cached":false,"data":{\#(row)"timestamp":"20"#), "\(first.text)")
        let second = try await ask("1")
        #expect(second.text == first.text.replacing("false", with: "true"))
        // The row changes, and what was said beside it goes with it.
        let changed = fields + [(name: "Content-Type", value: "application/json")]
        _ = try await api.send(.put, "/data/1", #"{"value":7}"#, fields: changed, on: reactor)
        let third = try await ask("1")
        #expect(third.text.hasPrefix(#"{"cached":false,"data":{"db_data":7,"#) && script.asked.count == 2)
        #expect(try await ask("none").status == 404)
        // A key of that name is a key like any other.
        let put = try await api.send(.put, "/data/complex", #"{"value":8}"#, fields: changed, on: reactor)
        #expect(put.status == 200)
        #expect(try await ask("complex").text.contains(#""db_data":8,"#))
        // What fails is asked for again.
        script.response = .text(500, "")
        #expect(try await ask("2").status == 502)
        script.response = .json(200, Array(#"{"message":"m","service_id":"b"}"#.utf8))
        #expect(try await ask("2").text.contains(#""service_id":"b""#))
        await api.stop(on: reactor)
        await server.drain(until: reactor.now, on: reactor)
      }
    }

    @Test("readiness says that there is no service, and an API process does its work all the same")
    func readiness() async throws {
      let answer = try await onReactor { reactor in
        let (api, _) = try await Self.start("service_ready", [SocketAddress("127.0.0.1:1")!], on: reactor)
        let answer = try await api.send(.get, "/readyz", on: reactor)
        await api.stop(on: reactor)
        return answer
      }
      #expect(answer.status == 200 && answer.text.contains(#""waiting_for":["a compute service"]"#), "\(answer.text)")
    }

    @Test("each route of a service is open to everybody") func routes() async throws {
      let answers = try await onReactor { reactor in
        let router = ComputeServiceProcess.routes(ComputeServiceConfiguration(), metrics: Metrics())
        var answers: [String] = []
        for route in router.table {
          let head = "\(route.method.name) \(Caller.path(for: route.pattern)) HTTP/1.1\r\nHost: a\r\n\r\n"
          let request = try #require(
            HTTPRequest(headBytes: Array(head.utf8), body: [], id: [], peer: SocketAddress("10.0.0.1:1")!))
          let status = await router.answer(request, on: reactor).status
          answers.append("\(route.method.name) \(route.pattern) \(route.access) \(status)")
        }
        return answers.sorted()
      }
      // A route that is added has to be added here, too.
      #expect(
        answers == [
          "GET /health open 200", "GET /livez open 200", "GET /metrics open 200", "GET /process open 200",
          "GET /readyz open 200",
        ])
    }
  }
}
