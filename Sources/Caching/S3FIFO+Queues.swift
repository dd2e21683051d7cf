public import Basics

extension S3FIFO {
  /// Makes room by one entry at least, or moves one entry a step towards the end.
  @inlinable
  mutating func evictOne(at now: MonotonicTime) {
    let smallIsOver = small.count * 10 > entriesMax || small.bytes > bytesMax / 10
    let fromSmall = main.count == 0 || (small.count > 0 && smallIsOver)
    let place = fromSmall ? small.oldest : main.oldest
    if nodes[place].expiry <= now {
      remove(at: place)
      countExpiration()
    } else if fromSmall && nodes[place].frequency >= Limits.frequencyToStay {
      unlink(place)
      nodes[place].isMain = true
      nodes[place].frequency = 0
      pushNewest(place)
    } else if !fromSmall && nodes[place].frequency > 0 {
      unlink(place)
      nodes[place].frequency -= 1
      pushNewest(place)
    } else {
      if fromSmall, let key = nodes[place].entry?.key { ghost.insert(key.hashValue, countMax: max(main.count, 16)) }
      remove(at: place)
      countEviction()
    }
  }

  @inlinable
  mutating func allocate(_ node: Node) -> Int {
    guard free >= 0 else {
      nodes.append(node)
      return nodes.count - 1
    }
    let place = free
    free = nodes[place].newer
    nodes[place] = node
    return place
  }

  @inlinable
  mutating func remove(at place: Int) {
    guard let key = nodes[place].entry?.key else { return }
    unlink(place)
    places[key] = nil
    nodes[place].entry = nil
    nodes[place].newer = free
    free = place
  }

  @inlinable
  mutating func adjustBytes(of place: Int, to bytes: Int) {
    let change = bytes - nodes[place].bytes
    nodes[place].bytes = bytes
    if nodes[place].isMain { main.bytes += change } else { small.bytes += change }
  }

  @inlinable
  mutating func pushNewest(_ place: Int) {
    if nodes[place].isMain { main.push(place, &nodes) } else { small.push(place, &nodes) }
  }

  @inlinable
  mutating func unlink(_ place: Int) {
    if nodes[place].isMain { main.unlink(place, &nodes) } else { small.unlink(place, &nodes) }
  }
}

extension S3FIFO.Queue {
  @inlinable
  mutating func push(_ place: Int, _ nodes: inout [S3FIFO.Node]) {
    nodes[place].older = newest
    nodes[place].newer = -1
    if newest >= 0 { nodes[newest].newer = place } else { oldest = place }
    newest = place
    count += 1
    bytes += nodes[place].bytes
  }

  @inlinable
  mutating func unlink(_ place: Int, _ nodes: inout [S3FIFO.Node]) {
    let node = (newer: nodes[place].newer, older: nodes[place].older)
    if node.newer >= 0 { nodes[node.newer].older = node.older } else { newest = node.older }
    if node.older >= 0 { nodes[node.older].newer = node.newer } else { oldest = node.newer }
    count -= 1
    bytes -= nodes[place].bytes
  }
}

/// Hashes of the keys that left the small queue lately, oldest first.
@usableFromInline
struct GhostQueue {
  private var order = RingQueue<(hash: Int, number: UInt64)>()
  private var numbers: [Int: UInt64] = [:]
  private var next: UInt64 = 0

  @usableFromInline
  init() {}

  /// Remembers `hash` and forgets the oldest ones past `countMax`.
  @usableFromInline
  mutating func insert(_ hash: Int, countMax: Int) {
    numbers[hash] = next
    order.append((hash, next))
    next += 1
    while order.count > countMax, let oldest = order.popFirst() {
      // A hash that was taken out or remembered again since has another number, or none.
      if numbers[oldest.hash] == oldest.number { numbers[oldest.hash] = nil }
    }
  }

  /// Forgets `hash`; whether it was remembered.
  @usableFromInline
  mutating func remove(_ hash: Int) -> Bool {
    numbers.removeValue(forKey: hash) != nil
  }
}
