import Backends
@testable import Balancer
import Balancing
import Basics
import HTTPSyntax
import Reactor
import Testing
import VersionedStore

@Suite("Where requests for keys go", .timeLimit(.minutes(5))) struct KeyRouteTests {
  private static var route: KeyRoute { KeyRoute(partitions: 8) }

  private static func destination(_ target: String) throws -> Destination {
    let scratch = ByteScratch(capacity: 8192)
    scratch.append(Array("GET \(target) HTTP/1.1\r\nHost: a\r\n\r\n".utf8))
    let head = RequestHead()
    let parse = scratch.span { head.parse($0) }
    guard case .complete = parse else { throw HeadError.invalidTarget }
    return route.destination(of: head, in: scratch)
  }

  private static func partition(of key: String) -> Destination {
    .partition(Placement.partition(of: StoreKey(key)!, of: 8))
  }

  @Test(
    "a key goes to its partition, with whatever escapes it was written",
    arguments: [
      ("a", "a"), ("hello%20world", "hello world"), ("hello+world", "hello+world"), ("a%2Fb%3fc", "a/b?c"),
      ("%C3%A4", "ä"), ("%7Btag%7Dx", "{tag}other"),
      ("{tag}x", "%7Btag%7Dother".replacing("%7B", with: "{").replacing("%7D", with: "}")),
      (String(repeating: "k", count: 512), String(repeating: "k", count: 512)),
      (String(repeating: "%6B", count: 512), String(repeating: "k", count: 512)),
    ]) func keys(written: String, key: String) throws
  {
    for lead in ["get", "put", "delete", "history", "batch"] {
      #expect(try Self.destination("/\(lead)/\(written)") == Self.partition(of: key), "\(lead)")
      #expect(try Self.destination("/\(lead)/\(written)?version=2&ttl=5") == Self.partition(of: key), "\(lead)")
    }
  }

  @Test(
    "what names no key goes to any server of keys, which says what is wrong",
    arguments: [
      "", "%", "%4", "%zz", "a/b", "a%2", String(repeating: "k", count: 513), String(repeating: "%6b", count: 513),
    ]) func malformed(key: String) throws
  {
    #expect(try Self.destination("/get/\(key)") == .anyKeyServer)
  }

  @Test("a list goes to the one partition that it is of, or to any server") func lists() throws {
    for path in ["/keys", "/watch"] {
      #expect(try Self.destination(path) == .anyKeyServer)
      #expect(try Self.destination("\(path)?prefix=a") == .anyKeyServer)
      #expect(try Self.destination("\(path)?prefix=%7Btag%7Da") == Self.partition(of: "{tag}"))
      #expect(try Self.destination("\(path)?x=1&prefix={tag}") == Self.partition(of: "{tag}"))
      #expect(try Self.destination("\(path)?partition=3&prefix=a") == .partition(3))
      #expect(try Self.destination("\(path)?p%61rtition=3") == .partition(3))
      for wrong in ["8", "-1", "x", "", "99999999999999999999"] {
        #expect(try Self.destination("\(path)?partition=\(wrong)") == .anyKeyServer, "\(wrong)")
      }
      #expect(try Self.destination("\(path)?prefix=%ff") == .anyKeyServer)
    }
  }

  @Test("servers are asked of themselves; what they ask each other nobody asks through a balancer") func others() throws
  {
    for path in [
      "/servers", "/insights", "/insights?server=b", "/db/stats", "/db/stats?server=a", "/cache/stats?server=a",
    ] {
      #expect(try Self.destination(path) == .anyKeyServer, "\(path)")
    }
    for path in [
      "/", "/get", "/put", "/gets/a", "/key", "/keysx", "/keys/a", "/watcher", "/server", "/hash", "/data/a",
      "/cache/stats", "/cache/stats?servers=a", "/cache/a", "/db", "/partitions/1/leave", "/partitions/1/keys",
      "/health",
    ] {
      #expect(try Self.destination(path) == .anyBackend, "\(path)")
    }
  }

  // MARK: Servers

  private static let names = (1...5).map { "server-\($0)" }

  private static func servers(_ partitions: Int) -> (KeyServers, [BackendEntry]) {
    let addresses = names.enumerated().map { index, name in
      var address = BackendAddress(name: name, address: SocketAddress("127.0.0.1:\(index + 1)")!)
      address.purpose = .keys
      return address
    }
    let api = BackendAddress(name: "api", address: SocketAddress("127.0.0.1:80")!)
    // The order in which they are named is nobody's business.
    let plan = BackendPlan(addresses.reversed() + [api], agent: "test", metricsPrefix: "key_route_tests")
    let set = BackendRegister(plan, metrics: sharedMetrics, log: silentLog).backends
    #expect(set.entries.map(\.backend.name) == ["api"] + names.reversed())
    return (KeyServers(set, partitions: partitions), set.keyServers.sorted { $0.backend.name < $1.backend.name })
  }

  @Test("whoever lives: all of a partition goes where everybody places it, a request that tried in vain too")
  func placement() {
    for seed in 0..<200 {
      var random = SeededRandom(seed: UInt64(seed))
      let partitions = Int.random(in: 1...64, using: &random)
      let (servers, entries) = Self.servers(partitions)
      let placement = Placement(servers: Self.names, partitions: partitions)
      var now: UInt64 = 1_000
      for entry in entries { entry.backend.checkPassed(at: now) }
      var isAlive = Array(repeating: true, count: 5)
      for _ in 0..<30 {
        now += 10
        let changed = Int.random(in: 0..<5, using: &random)
        isAlive[changed].toggle()
        for _ in 0..<2 {
          if isAlive[changed] {
            entries[changed].backend.checkPassed(at: now)
          } else {
            entries[changed].backend.checkFailed(at: now)
          }
        }
        let tried = Bool.random(using: &random) ? Int.random(in: 0..<5, using: &random) : nil
        var left = isAlive
        if let tried { left[tried] = false }
        // If nobody is well, those that ever were are asked.
        if !left.contains(true) { left = (0..<5).map { $0 != tried } }
        let owners = placement.owners { left[$0] }
        let excluded = tried.map { entries[$0].backend.bit } ?? 0
        for partition in 0..<partitions {
          let chosen = servers.choose(
            .partition(partition), excluded: excluded, at: MonotonicTime(nanoseconds: now * 1_000_000))
          #expect(chosen?.backend.name == owners[partition].map { Self.names[$0] }, "seed \(seed)")
        }
      }
    }
  }

  @Test("what is for no key goes to one server after the other, and to none that does not live") func turns() {
    let (servers, entries) = Self.servers(8)
    let now = MonotonicTime(nanoseconds: 1_000_000_000)
    #expect(servers.choose(.anyKeyServer, excluded: 0, at: now) == nil)
    #expect(servers.choose(.partition(0), excluded: 0, at: now) == nil)
    for entry in entries[..<3] { entry.backend.checkPassed(at: 1_000) }
    let chosen = (0..<30).compactMap { _ in servers.choose(.anyKeyServer, excluded: 0, at: now)?.backend.name }
    for name in Self.names[..<3] { #expect(chosen.count { $0 == name } == 10) }
    let but = entries[0].backend.bit | entries[1].backend.bit
    #expect(servers.choose(.anyKeyServer, excluded: but, at: now)?.backend.name == "server-3")
    #expect(servers.choose(.anyKeyServer, excluded: but | entries[2].backend.bit, at: now) == nil)
  }
}
