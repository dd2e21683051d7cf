import Basics
import Testing

@testable import Caching

/// What stays in memory under loads of several shapes, beside a cache that always drops what was not used for longest.
@Suite("S3-FIFO beside LRU", .timeLimit(.minutes(5))) struct TraceTests {
  private static let length = 200_000
  private static let bytesMax = 1000 * 100

  /// A load: which key is asked for next. Values of keys have 50 to 150 bytes, so about a thousand fit.
  private struct Trace {
    let name: String
    /// How much of the hits of LRU there must be.
    let least: Double
    let keys: [Int]
  }

  /// Keys 0 to `count - 1`, the one of rank r asked for in proportion to 1/r (Zipf's law).
  private static func skewed(_ count: Int, using random: inout SeededRandom) -> () -> Int {
    var sums: [Double] = []
    for rank in 1...count { sums.append((sums.last ?? 0) + 1 / Double(rank)) }
    let (all, seed) = (sums, random.next())
    var own = SeededRandom(seed: seed)
    return {
      let wish = Double.random(in: 0..<1, using: &own) * (all.last ?? 0)
      var (low, high) = (0, all.count - 1)
      while low < high {
        let middle = (low + high) / 2
        if all[middle] < wish { low = middle + 1 } else { high = middle }
      }
      return low
    }
  }

  private static var traces: [Trace] {
    var random = SeededRandom(seed: 7)
    let next = skewed(20_000, using: &random)
    let plain = (0..<length).map { _ in next() }
    // One in two is read once and never again.
    let scanning = (0..<length).map { $0 % 2 == 0 ? next() : 1_000_000 + $0 }
    // What is liked changes every so often.
    let shifting = (0..<length).map { ($0 / 20_000) * 100_000 + next() }
    // All in turn, a fifth more than there is room for.
    let looping = (0..<length).map { $0 % 1200 }
    return [
      Trace(name: "skewed", least: 1.05, keys: plain), Trace(name: "scanning", least: 1.15, keys: scanning),
      Trace(name: "shifting", least: 1, keys: shifting), Trace(name: "looping", least: 1, keys: looping),
    ]
  }

  private static func bytes(of key: Int) -> Int { 50 + key % 101 }

  @Test("hits are at least as many on each load, and bytes never more than allowed") func traces() {
    for trace in Self.traces {
      var (cache, recent) = (S3FIFO<Int, Int>(entriesMax: .max, bytesMax: Self.bytesMax), LRU(bytesMax: Self.bytesMax))
      var mostBytes = 0
      for key in trace.keys {
        if cache.value(for: key, at: MonotonicTime(nanoseconds: 0)) == nil {
          cache.set(
            key, for: key, bytes: Self.bytes(of: key), expiry: .never, at: MonotonicTime(nanoseconds: 0))
        }
        mostBytes = max(mostBytes, cache.bytes)
        recent.ask(for: key, bytes: Self.bytes(of: key))
      }
      let (hits, others) = (cache.statistics.hits, recent.hits)
      // The same once more for the time that it takes.
      var timed = S3FIFO<Int, Int>(entriesMax: .max, bytesMax: Self.bytesMax)
      let began = MonotonicTime.current()
      for key in trace.keys where timed.value(for: key, at: MonotonicTime(nanoseconds: 0)) == nil {
        timed.set(key, for: key, bytes: Self.bytes(of: key), expiry: .never, at: MonotonicTime(nanoseconds: 0))
      }
      let each = MonotonicTime.current().since(began).nanoseconds / UInt64(trace.keys.count)
      func percent(_ hits: Int) -> Double { Double(hits * 1000 / Self.length) / 10 }
      print("\(trace.name): S3-FIFO hits \(percent(hits)) %, LRU \(percent(others)) %, \(each) ns a request")
      #expect(Double(hits) >= trace.least * Double(others), "\(trace.name)")
      #expect(mostBytes <= Self.bytesMax)
    }
  }
}

/// Drops what was not used for longest: a list of keys from the oldest to the newest, and where each stands.
private struct LRU {
  private struct Node {
    var bytes: Int
    var older: Int?
    var newer: Int?
  }

  private let bytesMax: Int
  private var bytes = 0
  private var nodes: [Int: Node] = [:]
  private var oldest: Int?
  private var newest: Int?
  private(set) var hits = 0

  init(bytesMax: Int) {
    self.bytesMax = bytesMax
  }

  mutating func ask(for key: Int, bytes size: Int) {
    if nodes[key] != nil {
      hits += 1
      remove(key)
    }
    nodes[key] = Node(bytes: size, older: newest, newer: nil)
    if let newest { nodes[newest]?.newer = key } else { oldest = key }
    newest = key
    bytes += size
    while bytes > bytesMax, let oldest { remove(oldest) }
  }

  private mutating func remove(_ key: Int) {
    guard let node = nodes.removeValue(forKey: key) else { return }
    if let older = node.older { nodes[older]?.newer = node.newer } else { oldest = node.newer }
    if let newer = node.newer { nodes[newer]?.older = node.older } else { newest = node.older }
    bytes -= node.bytes
  }
}
