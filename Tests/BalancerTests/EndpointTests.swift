@testable import Balancer
import Basics
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Endpoints", .timeLimit(.minutes(5))) struct EndpointTests {
  /// What a balancer with one backend answers to each of `requests`, on one connection each.
  private func answers(
    _ requests: [String], _ change: @escaping @Sendable (inout BalancerConfiguration) -> Void = { _ in }
  ) async throws -> [String] {
    try await withBalancer(.server(), configure: change) { fixture, reactor in
      var answers: [String] = []
      for request in requests { answers.append(await fixture.ask(request, on: reactor)) }
      return answers
    }
  }

  @Test("past its limit an address gets 429 with when to come again, and the balancer's own endpoints still answer")
  func limit() async throws {
    let who = request("GET /who")
    let seen = try await answers([who, who, who, who, request("GET /lb/health")]) { $0.rateLimitRequests = 3 }
    #expect(seen[0].contains("RateLimit-Policy: \"default\";q=3;w=60\r\nRateLimit: \"default\";r=2;t="))
    #expect(seen[2].hasPrefix("HTTP/1.1 200 "))
    #expect(seen[2].contains("RateLimit: \"default\";r=0;t="))
    #expect(seen[3].hasPrefix("HTTP/1.1 429 "))
    #expect(seen[3].contains("Retry-After: "))
    #expect(seen[3].contains("RateLimit-Policy: \"default\";q=3;w=60\r\nRateLimit: \"default\";r=0;t="))
    #expect(seen[4].hasSuffix(#"{"status":"healthy","service":"loadbalancer"}"#))
  }

  @Test("who asks the balancer itself without end is told to wait, but probes are answered") func ownLimit()
    async throws
  {
    let seen = try await withBalancer(.server(), configure: { $0.rateLimitRequests = 3 }) { fixture, reactor in
      let client = try await fixture.connect(on: reactor)
      let ask = request("GET /lb/health", kept: true)
      // A window may end meanwhile, and the next one has room for as many.
      let most = 2 * BalancerLimits.ownRequestsMax + 1
      client.send(String(repeating: ask, count: most), on: reactor)
      let past = await client.read(until: "\r\n\r\n{", count: most, on: reactor)
      let probe = await fixture.ask(request("GET /livez"), on: reactor)
      return (past, probe)
    }
    let refused = seen.0.components("HTTP/1.1 429 ")
    #expect(seen.0.components("HTTP/1.1 200 ") > BalancerLimits.ownRequestsMax / 2)
    #expect(refused > 0 && seen.0.components("Retry-After: ") == refused)
    #expect(seen.1.hasPrefix("HTTP/1.1 200 "))
  }

  @Test("an address that guesses tokens has to wait, also with the right one") func guesses() async throws {
    func call(_ token: String) -> String {
      request("POST /lb/strategy?new_strategy=round_robin", "Authorization: Bearer \(token)\r\n")
    }
    let seen = try await answers((0..<11).map { call("wrong\($0)") } + [call("right"), request("GET /lb/health")]) {
      $0.adminToken = "right"
    }
    #expect(seen[..<10].allSatisfy { $0.hasPrefix("HTTP/1.1 401 ") })
    #expect(seen[10].hasPrefix("HTTP/1.1 429 ") && seen[10].contains("Retry-After: "))
    #expect(seen[11].hasPrefix("HTTP/1.1 429 "))
    #expect(seen[12].hasPrefix("HTTP/1.1 200 "))
  }

  @Test("two reactors together let no more through than the limit allows")
  func sharedLimit() async throws {
    let who = request("GET /who")
    let seen = try await answers(Array(repeating: who, count: 60)) {
      $0.rateLimitRequests = 20
      $0.reactors = 2
    }
    #expect(seen.filter { $0.hasPrefix("HTTP/1.1 200 ") }.count == 20)
    #expect(seen.filter { $0.hasPrefix("HTTP/1.1 429 ") }.count == 40)
  }

  @Test("the strategy changes by query and by body, and a wrong name is answered with the right ones")
  func strategy() async throws {
    let seen = try await answers([
      request("POST /lb/strategy?new_strategy=least-connections"),
      request("POST /lb/strategy", body: #"{"strategy":"power_of_two"}"#), request("GET /lb/stats"),
      request("POST /lb/strategy?new_strategy=best"), request("POST /lb/strategy"),
      request("POST /lb/strategy", body: "{"), request("GET /lb/strategy"), request("GET /lb/nothing"),
    ])
    #expect(seen[0].hasSuffix(#""old_strategy":"round_robin","new_strategy":"least_connections"}"#))
    #expect(seen[1].hasSuffix(#""old_strategy":"least_connections","new_strategy":"power_of_two"}"#))
    #expect(seen[2].contains(#"{"strategy":"power_of_two","#))
    #expect(seen[3].hasPrefix("HTTP/1.1 400 "))
    #expect(seen[3].contains("round_robin, weighted, least_connections, power_of_two, consistent_hash"))
    #expect(seen[4].hasPrefix("HTTP/1.1 422 "))
    #expect(seen[5].hasPrefix("HTTP/1.1 400 "))
    #expect(seen[6].hasPrefix("HTTP/1.1 405 "))
    #expect(seen[6].contains("Allow: POST, OPTIONS\r\n"))
    #expect(seen[7].hasPrefix("HTTP/1.1 404 "))
  }

  @Test("what reveals or changes the system needs the token, also from this machine if the request was forwarded")
  func admin() async throws {
    let strange = try await answers([
      request("GET /lb/rate-limits"), request("GET /lb/rate-limits", "Authorization: Bearer wrong\r\n"),
      request("GET /lb/rate-limits", "Authorization: Bearer s3cret\r\n"),
      request("GET /lb/rate-limits", "Authorization: s3cret\r\n"), request("POST /lb/strategy?new_strategy=weighted"),
    ]) {
      $0.trustsLoopback = false
      $0.adminToken = "s3cret"
    }
    #expect(strange.map { $0.prefix(12).suffix(3) } == ["401", "401", "200", "200", "401"])
    #expect(strange[0].contains("WWW-Authenticate: Bearer\r\n"))
    #expect(strange[1].contains("WWW-Authenticate: Bearer error=\"invalid_token\"\r\n"))
    let local = try await answers([
      request("GET /who"), request("GET /lb/rate-limits"), request("GET /lb/rate-limits?ip=127.0.0.1"),
      request("GET /lb/rate-limits?ip=x"), request("GET /lb/rate-limits", "X-Forwarded-For: 127.0.0.1\r\n"),
    ]) { $0.rateLimitRequests = 10 }
    #expect(local[1].contains(#"{"127.0.0.1":{"requests_in_window":1,"requests_remaining":9,"window_reset_in":"#))
    #expect(local[2].contains(#"{"127.0.0.1":{"requests_in_window":1,"#))
    #expect(local.map { $0.prefix(12).suffix(3) } == ["200", "200", "200", "400", "401"])
  }

  @Test("a page of another site makes no admin call through a browser on this machine")
  func foreignPage() async throws {
    let line = "POST /lb/strategy?new_strategy=weighted"
    let seen = try await answers([
      request(line, "Origin: https://evil.example\r\n"), request(line, "Sec-Fetch-Site: cross-site\r\n"),
      request(line, "Origin: null\r\n"), request(line, host: "rebound.example:8000"),
      request(line, "Origin: http://localhost:8000\r\nSec-Fetch-Site: same-origin\r\n", host: "localhost:8000"),
      request(line, host: "127.0.0.1:8000"), request(line, host: "[::1]:8000"), request(line, host: "[::1]"),
    ])
    #expect(seen.map { $0.prefix(12).suffix(3) } == ["401", "401", "401", "401", "200", "200", "200", "200"])
  }

  @Test("the answers that people and monitors ask for first")
  func overview() async throws {
    let seen = try await answers([
      request("GET /"), request("HEAD /"), request("GET /livez"), request("GET /metrics"), request("GET /readyz"),
    ]) { $0.exposesBackend = true }
    #expect(seen[0].contains(#"{"service":"Load Balancer","status":"running","gateways":{"b1":{"#))
    #expect(seen[1].hasSuffix("\r\n\r\n"))
    #expect(seen[2].hasSuffix(#"{"status":"alive"}"#))
    #expect(seen[3].contains("millrace_balancer_answers_total{class=\"2xx\"}"))
    // Once every backend was seen well, a backend answers; this one has no such path.
    #expect(seen[4].hasPrefix("HTTP/1.1 404 "))
    #expect(seen[4].contains("X-LB-Backend: b1\r\n"))
  }
}
