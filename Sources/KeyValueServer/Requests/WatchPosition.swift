import VersionedStore

/// How far somebody has seen what happens: a revision for each partition, as `0:17,3:4`.
struct WatchPosition: Equatable {
  private(set) var revisions: [Int: Int64]

  init(_ revisions: [Int: Int64] = [:]) {
    self.revisions = revisions
  }

  /// Nil for a text that is none.
  init?(_ text: String) {
    revisions = [:]
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let words = part.split(separator: ":", omittingEmptySubsequences: false)
      guard words.count == 2, let partition = Int(words[0]), let revision = Int64(words[1]), revision >= 0,
        0..<VersionedStore.Limits.partitions.upperBound ~= partition,
        revisions.updateValue(revision, forKey: partition) == nil
      else { return nil }
    }
  }

  /// Whether something is known to be seen of each partition.
  var isWhole: Bool { revisions.values.allSatisfy { $0 >= 0 } }

  subscript(partition: Int) -> Int64? {
    get { revisions[partition] }
    set { revisions[partition] = newValue }
  }

  /// Goes on to what `other` says of its partitions.
  mutating func advance(to other: WatchPosition) { revisions.merge(other.revisions) { $1 } }

  /// The part that is about `partitions`.
  func part(_ partitions: [Int]) -> WatchPosition { WatchPosition(revisions.filter { partitions.contains($0.key) }) }

  /// What is not seen is not named: whoever comes back is told so again.
  var text: String {
    revisions.filter { $0.value >= 0 }.sorted { $0.key < $1.key }.map { "\($0.key):\($0.value)" }.joined(separator: ",")
  }
}
