@testable import Backends
@testable import Balancer
import Balancing
import Basics
import HTTP
import Reactor
import TestSupport
import Testing

@Suite("Names that lead to backends", .timeLimit(.minutes(5))) struct NameTests {
  private static func addresses(_ hosts: String...) -> [SocketAddress] {
    hosts.map { SocketAddress(ip: $0, port: 80)! }
  }

  @Test("a name is read with what may stand around it, and nothing else is one") func reading() {
    let plain = BackendName("dns:api:8080")
    #expect(plain?.name == "api" && plain?.host == "api" && plain?.port == 8080 && plain?.weight == 1)
    let full = BackendName("a=dns:api.my_net.example:80*3?resets=unread")
    #expect(full?.name == "a" && full?.weight == 3 && full?.vouchesForResets == true)
    for text in [
      "api:8080", "dns:api", "dns:api:0", "dns::80", "dns:a b:80", "dns:api:80*0", "=dns:api:80", "dns:unix:/x", "dns:",
      "dns:" + String(repeating: "a", count: 254) + ":1",
    ] {
      #expect(BackendName(text) == nil, "\(text)")
    }
    #expect(plain?.mayName("api-12") == true && plain?.mayName("api-x") == false && plain?.mayName("apis-1") == false)
  }

  @Test("who stays keeps its number, and who comes takes the lowest that is free") func numbers() throws {
    var members = NameMembers(try #require(BackendName("a=dns:app:80*2")), most: 3)
    func names() -> [String] { members.backends.map { "\($0.name) \($0.address.host)" } }
    #expect(members.lookedUp(Self.addresses("10.0.0.3", "10.0.0.1")) == .init(joined: ["10.0.0.1:80", "10.0.0.3:80"]))
    #expect(names() == ["a-1 10.0.0.1", "a-2 10.0.0.3"])
    // Another order, and twice the same, is nothing new.
    #expect(members.lookedUp(Self.addresses("10.0.0.1", "10.0.0.3", "10.0.0.1")) == nil)
    let change = members.lookedUp(Self.addresses("10.0.0.3", "10.0.0.9"))
    #expect(change == .init(joined: ["10.0.0.9:80"], left: ["10.0.0.1:80"]))
    #expect(names() == ["a-1 10.0.0.9", "a-2 10.0.0.3"])
    #expect(members.lookedUp(Self.addresses("10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.9"))?.refused == 1)
    #expect(members.backends.count == 3 && members.backends.allSatisfy { $0.weight == 2 && $0.origin == "a" })
    // Of a machine with both families one address counts.
    #expect(members.lookedUp(Self.addresses("10.0.0.9", "fd00::9")) != nil)
    #expect(names() == ["a-1 10.0.0.9"])
    #expect(members.lookedUp(Self.addresses("fd00::9")) != nil)
    #expect(names() == ["a-1 fd00::9"])
  }

  @Test("whatever the answers, the members are those of the last one, with numbers of their own") func anyAnswers()
    throws
  {
    for seed in 0..<200 as Range<UInt64> {
      var random = SeededRandom(seed: seed)
      var members = NameMembers(try #require(BackendName("dns:app:80")))
      var most = 0
      for _ in 0..<50 {
        let before = members.backends
        let count = Int.random(in: 0...12, using: &random)
        let hosts = Set((0..<count).map { _ in Int.random(in: 1...20, using: &random) })
        let answer = hosts.map { SocketAddress(ip: "10.0.0.\($0)", port: 80)! }.shuffled(using: &random)
        let change = members.lookedUp(answer)
        let now = members.backends
        #expect(Set(now.map(\.address.description)) == Set(answer.map(\.description)))
        #expect(Set(now.map(\.name)).count == now.count)
        most = max(most, now.count)
        #expect(now.allSatisfy { (Int($0.name.dropFirst(4)) ?? .max) <= most })
        for old in before where answer.contains(old.address) {
          #expect(now.contains { $0.name == old.name && $0.address == old.address })
        }
        #expect((change == nil) == (Set(before.map(\.address.description)) == Set(now.map(\.address.description))))
      }
    }
  }

  @Test("the servers of a name get requests once they are well, and cannot be sent away from it") func lookedUp()
    async throws
  {
    let log = try await withBalancer(.server("1")) { fixture, reactor in
      var configuration = testConfiguration([])
      configuration.names = ["app=dns:localhost:\(fixture.addresses[0].port)", "lost=dns:no.such.host.invalid:80"]
        .compactMap(BackendName.init)
      let balancer = try BalancerInstance(configuration, log: noLog, metrics: sharedMetrics)
      var log: [String] = []
      let deadline = reactor.now + .seconds(30 as UInt64)
      var answer = ""
      repeat {
        answer = await exchange(request("GET /who"), balancer.address, on: reactor)
      } while !answer.hasSuffix("\r\n1") && reactor.now < deadline
      log.append(answer)
      for text in [
        request("GET /lb/stats"), request("GET /readyz"), request("DELETE /lb/backends/app-1"),
        request("PATCH /lb/backends/app-1", body: #"{"weight":5}"#), request("GET /lb/stats"),
      ] {
        log.append(await exchange(text, balancer.address, on: reactor))
      }
      balancer.drain(within: .milliseconds(100))
      balancer.join()
      return log
    }
    #expect(log[0].hasPrefix("HTTP/1.1 200 ") && log[0].hasSuffix("\r\n1"))
    #expect(log[1].contains(#""name":"app-1""#))
    #expect(log[2].contains(#"{"status":"not ready","waiting_for":["lost"]}"#))
    #expect(log[3].hasPrefix("HTTP/1.1 409 ") && log[4].hasPrefix("HTTP/1.1 200 ") && log[5].contains(#""weight":5"#))
  }

  @Test("one more server behind a name that has some is no reason to be not ready") func readiness() throws {
    var one = BackendAddress(name: "a-1", address: SocketAddress("127.0.0.1:1")!)
    var two = BackendAddress(name: "a-2", address: SocketAddress("127.0.0.1:2")!)
    (one.origin, two.origin) = ("a", "a")
    let names = [try #require(BackendName("a=dns:app:80"))]
    let plan = BackendPlan([one], names: names, agent: "test", metricsPrefix: "millrace_test")
    let set = BackendSet.first(plan, sharedMetrics)
    #expect(set.unchecked == ["a"])
    set.entries[0].backend.checkPassed(at: 1)
    #expect(set.unchecked == [])
    let grown = set.replaced(by: [one, two], plan, sharedMetrics)
    #expect(grown.unchecked == [])
    #expect(grown.replaced(by: [two], plan, sharedMetrics).unchecked == ["a"])
  }
}
