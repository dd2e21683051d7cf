import Basics
import Testing

@testable import VersionedStore

@Suite("Where keys are", .timeLimit(.minutes(5))) struct PlacementTests {
  private static func key(_ text: String) -> StoreKey { StoreKey(text)! }

  @Test("a partition is the SHA-256 of the key modulo their number, as every program computes it") func partitions() {
    // int(sha256(key), 16) % P
    for (key, of8, of12) in Self.known {
      #expect(Placement.partition(of: Self.key(key), of: 8) == of8, "\(key)")
      #expect(Placement.partition(of: Self.key(key), of: 12) == of12, "\(key)")
      #expect(Placement.partition(of: Self.key(key), of: 1) == 0)
    }
  }

  private static let known: [(String, Int, Int)] = [
    ("a", 3, 7), ("hello world", 1, 9), ("ä/?", 6, 6),
  ]

  @Test("what stands in the first braces keeps keys together, and nothing else does") func tags() {
    func placed(_ text: String) -> [UInt8] {
      let key = Array(text.utf8)
      return key.withUnsafeBytes { StoreKey.tag(in: $0).map { Array(key[$0]) } } ?? key
    }
    for (first, second) in [("{a}1", "{a}2"), ("{a}1", "x{a}"), ("{a}1", "a"), ("{a}{b}", "{a}"), ("{a}}", "{a}")] {
      #expect(placed(first) == placed(second), "\(first) \(second)")
    }
    for whole in ["{}a", "{a", "a}", "}a{", "{}{a}"] { #expect(placed(whole) == Array(whole.utf8)) }
    #expect(Placement.partition(ofPrefix: Array("{a}".utf8), of: 8) == Placement.partition(of: Self.key("{a}7"), of: 8))
    // The tag may not be over yet.
    #expect(Placement.partition(ofPrefix: Array("{a".utf8), of: 8) == nil)
    #expect(Placement.partition(ofPrefix: Array("a".utf8), of: 8) == nil)
    #expect(Placement.partition(ofPrefix: [], of: 1) == 0)
  }

  @Test("whoever is alive: each partition stands at one of them, and at none more than its share rounded up")
  func owners() {
    for seed in 0..<1000 {
      var random = SeededRandom(seed: UInt64(seed))
      let names = (0..<Int.random(in: 1...9, using: &random)).map { "server-\($0)" }
      let placement = Placement(servers: names, partitions: Int.random(in: 1...64, using: &random))
      let alive = Set(names.indices.filter { _ in Bool.random(using: &random) })
      let owners = placement.owners { alive.contains($0) }
      #expect(owners.count == placement.partitions)
      guard !alive.isEmpty else {
        #expect(owners.allSatisfy { $0 == nil })
        continue
      }
      let most = (placement.partitions + alive.count - 1) / alive.count
      for index in names.indices {
        let held = owners.count { $0 == index }
        #expect(held <= (alive.contains(index) ? most : 0), "seed \(seed)")
      }
      #expect(owners.allSatisfy { $0 != nil })
      // The order in which somebody lists the servers is nothing to the ring.
      let order = names.shuffled(using: &random)
      let other = Placement(servers: order, partitions: placement.partitions)
      let same = other.owners { alive.contains(names.firstIndex(of: order[$0])!) }
      #expect(same.map { order[$0!] } == owners.map { names[$0!] }, "seed \(seed)")
      #expect(abs(placement.shares.reduce(0, +) - 1) < 1e-9)
    }
  }

  @Test("when a server goes, most of what others have stays where it is") func staying() {
    var (moved, kept) = (0, 0)
    for count in 2...9 {
      let placement = Placement(servers: (0..<count).map { "server-\($0)" }, partitions: 64)
      let before = placement.owners { _ in true }
      for gone in 0..<count {
        let after = placement.owners { $0 != gone }
        for (old, new) in zip(before, after) where old != gone { if old == new { kept += 1 } else { moved += 1 } }
      }
    }
    #expect(moved * 3 < kept, "\(moved) of \(moved + kept) moved")
  }

  @Test("keys are the same if their bytes are, and have 1 to 512 of them") func keys() {
    // Swift takes these for one text.
    #expect("\u{E9}" == "e\u{301}" && StoreKey("\u{E9}") != StoreKey("e\u{301}"))
    #expect(StoreKey("") == nil && StoreKey("a\0b") == nil)
    #expect(StoreKey(String(repeating: "a", count: 512)) != nil && StoreKey(String(repeating: "a", count: 513)) == nil)
    #expect(StoreKey(String(repeating: "ä", count: 256)) != nil && StoreKey(String(repeating: "ä", count: 257)) == nil)
    #expect(StoreKey("a")! < StoreKey("b")! && StoreKey("a")! < StoreKey("aa")! && StoreKey("z")! < StoreKey("ä")!)
    #expect(KeyRange(prefix: "").end == nil)
    #expect(KeyRange(prefix: "az").end == Array("a{".utf8))
    #expect(KeyRange(prefix: "\u{10FFFF}").end == [0xF4, 0x8F, 0xBF, 0xC0])
  }
}
