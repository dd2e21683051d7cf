extension SourceTree {
  /// One file that names a type of another, which stands above it.
  struct UpwardName: Hashable {
    let room: String
    /// The type whose files name the other.
    let lower: String
    /// The type that is named.
    let upper: String
    let reason: String

    init(_ room: String, _ lower: String, names upper: String, because reason: String) {
      (self.room, self.lower, self.upper, self.reason) = (room, lower, upper, reason)
    }
  }

  /// Circles of types within a room: each is named by the next one's files. Those that are known are taken out first;
  /// without them no circle is to be left, and each of them has to be there.
  func circles(but known: [UpwardName]) -> [String] {
    var faults: [String] = []
    for (room, files) in Dictionary(grouping: sources, by: \.room).sorted(by: { $0.key < $1.key }) {
      var named = Self.namedTypes(files)
      for upward in known where upward.room == room {
        if named[upward.lower]?.remove(upward.upper) == nil {
          faults.append("\(room): \(upward.lower) does not name \(upward.upper) any more: take it off the list")
        }
      }
      while let circle = Self.circle(in: named) {
        faults.append("\(room): " + (circle + [circle[0]]).joined(separator: " names "))
        named[circle[circle.count - 1]]?.remove(circle[0])
      }
    }
    return faults + known.filter { $0.reason.count < 20 }.map { "\($0.lower) names \($0.upper) without a reason" }
  }

  /// For each type that files are named after, the others whose files declare what its files name.
  private static func namedTypes(_ files: [File]) -> [String: Set<String>] {
    let kinds: Set = ["struct", "enum", "class", "actor", "protocol", "typealias"]
    var owners: [String: String] = [:]
    for file in files {
      for line in file.code where line.first.map({ $0 != " " && $0 != "}" }) == true {
        let words = Array(Words(line))
        guard let kind = words.firstIndex(where: kinds.contains), kind + 1 < words.count else { continue }
        owners[words[kind + 1]] = file.subject
      }
    }
    var named: [String: Set<String>] = [:]
    for file in files {
      let words = Set(Words.outsideStrings(file.code.joined(separator: "\n")))
      named[file.subject, default: []].formUnion(words.compactMap { owners[$0] }.filter { $0 != file.subject })
    }
    return named
  }

  /// Some circle, or nil: a walk that takes away whoever names nobody that is left.
  private static func circle(in named: [String: Set<String>]) -> [String]? {
    var left = named
    while let leaf = left.keys.sorted().first(where: { left[$0]?.isDisjoint(with: left.keys) == true }) {
      left[leaf] = nil
    }
    guard var next = left.keys.min() else { return nil }
    var path: [String] = []
    while !path.contains(next) {
      path.append(next)
      guard let following = left[next]?.filter({ left[$0] != nil }).min() else { return nil }
      next = following
    }
    return Array(path[(path.firstIndex(of: next) ?? 0)...])
  }
}
