import Basics
import Foundation
import TestSupport
import Testing

@testable import VersionedStore

/// Changes by chance of a few keys.
struct RandomChanges {
  var random: SeededRandom
  private(set) var now = Timestamp(microseconds: 1_700_000_000_000_000)
  private let keys = ["a", "a/b", "{t}1", "{t}2", "\u{E9}", "e\u{301}", "z"].map { StoreKey($0)! }

  /// Whether values end: by a clock that not every engine is told.
  private let hasLifetimes: Bool

  init(seed: Int, hasLifetimes: Bool = true) {
    random = SeededRandom(seed: UInt64(seed))
    self.hasLifetimes = hasLifetimes
  }

  mutating func key() -> StoreKey { keys.randomElement(using: &random)! }

  mutating func prefix() -> String { ["", "a", "{t}", "e", "b"].randomElement(using: &random)! }

  mutating func next() -> Change {
    now.microseconds += Int64.random(in: 0...400_000, using: &random)
    let count = Int.random(in: 0..<6, using: &random) == 0 ? Int.random(in: 2...3, using: &random) : 1
    let steps = keys.shuffled(using: &random).prefix(count).map { key in
      Change.Step(key, action(), if: condition())
    }
    let number = UInt8.random(in: 0..<40, using: &random)
    // Some names are used again, and some of these for something else.
    let name = number < 10 ? Change.Name([number], fingerprint: [number % 3]) : nil
    return Change(Array(steps), name: name)
  }

  private mutating func action() -> Change.Action {
    switch Int.random(in: 0..<10, using: &random) {
    case 0..<6:
      let value = Array("\"\(String(repeating: "v", count: Int.random(in: 0..<50, using: &random)))\"".utf8)
      let hasEnd = hasLifetimes && Int.random(in: 0..<4, using: &random) == 0
      return .put(value, lifetime: hasEnd ? .milliseconds(UInt64.random(in: 1...900, using: &random)) : nil)
    case 6, 7: return .delete
    case 8: return .purge
    default: return .expire
    }
  }

  private mutating func condition() -> Condition {
    switch Int.random(in: 0..<8, using: &random) {
    case 0: Condition(match: .any)
    case 1: Condition(match: .these([1, Int64.random(in: 1...9, using: &random)]))
    case 2: Condition(noneMatch: .any)
    case 3: Condition(noneMatch: .these([Int64.random(in: 1...9, using: &random)]))
    default: Condition()
    }
  }
}

/// A partition in a folder of a test's own.
func place(in folder: TemporaryFolder) -> PartitionPlace {
  PartitionPlace(folder: folder.path, partition: 0, partitions: 1)
}

func open(
  _ place: PartitionPlace, maxVersions: Int64 = 100, acknowledged: Int64 = 0
) throws -> (writer: PartitionFile, reader: PartitionFile) {
  let writer = try PartitionFile.openForWriting(place, maxVersions: maxVersions, acknowledged: acknowledged)
  return (writer, try PartitionFile.openForReading(place))
}

@Suite("The file of a partition", .timeLimit(.minutes(5))) struct PartitionFileTests {
  @Test("whatever is changed, the file says what a few lines without a file say, also when it was opened anew")
  func model() throws {
    for seed in 0..<25 {
      let folder = TemporaryFolder()
      let place = place(in: folder)
      var changes = RandomChanges(seed: seed)
      let maxVersions = Int64.random(in: 1...6, using: &changes.random)
      var model = PartitionModel(maxVersions: maxVersions)
      var (writer, reader) = try open(place, maxVersions: maxVersions)
      for round in 0..<8 {
        let batch = (0..<Int.random(in: 1...12, using: &changes.random)).map { _ in changes.next() }
        let outcomes = try writer.apply(batch, at: changes.now)
        #expect(outcomes == batch.map { model.apply($0, at: changes.now) }, "seed \(seed)")
        #expect(writer.revision == model.revision && writer.compacted == model.compacted)
        if Int.random(in: 0..<4, using: &changes.random) == 0 {
          if Bool.random(using: &changes.random) { try writer.connection.checkpoint(restarts: false) }
          reader.close()
          writer.close()
          (writer, reader) = try open(place, maxVersions: maxVersions, acknowledged: model.revision)
          #expect(writer.revision == model.revision)
        }
        try compare(reader, model, &changes, "seed \(seed), round \(round)")
      }
      reader.close()
      writer.close()
    }
  }

  private func compare(
    _ reader: PartitionFile, _ model: PartitionModel, _ changes: inout RandomChanges, _ comment: Comment
  ) throws {
    let key = changes.key()
    for version in [nil, 1, 2, 3, 7, 40] as [Int64?] {
      #expect(try reader.lookUp(key, version: version) == model.lookUp(key, version: version), comment)
    }
    let all = Array((model.keys[key] ?? []).reversed())
    #expect(try reader.history(key, before: nil, limit: 1000) == all, comment)
    if all.count > 2 { #expect(try reader.history(key, before: all[0].version, limit: 1) == [all[1]], comment) }
    let range = KeyRange(prefix: changes.prefix())
    let entries = model.entries(in: range, at: changes.now)
    #expect(try reader.keys(in: range, after: nil, limit: 100, at: changes.now) == entries, comment)
    if entries.count > 1 {
      let rest = try reader.keys(in: range, after: entries[0].key, limit: 1, at: changes.now)
      #expect(rest == [entries[1]], comment)
    }
    let since = Int64.random(in: 0...model.revision, using: &changes.random)
    let page = try reader.events(in: range, since: since)
    #expect(page.events == model.events(in: range, since: since), comment)
    #expect(page.through == model.revision && page.hasGap == (since < model.compacted), comment)
    for revision in [model.revision + 1, .max] {
      #expect(try reader.events(in: range, since: revision).hasGap, comment)
    }
    #expect(try reader.figures(at: changes.now).versions == model.keys.values.reduce(0) { $0 + Int64($1.count) })
  }

  @Test("without room nothing of a commit is done, and reads go on") func full() throws {
    let folder = TemporaryFolder()
    let (writer, reader) = try open(place(in: folder))
    let key = StoreKey("a")!
    func put(_ bytes: Int) throws(SQLiteFailure) {
      let value = [UInt8](repeating: 0x31, count: bytes)
      _ = try writer.apply(
        [StoreKey("b")!, key].map { Change([Change.Step($0, .put(value, lifetime: nil))]) }, at: .current())
    }
    try put(10)
    let pages = try writer.connection.text("pragma page_count")
    _ = try writer.connection.text("pragma max_page_count = \(pages)")
    let failure = #expect(throws: SQLiteFailure.self) { try put(200_000) }
    #expect(failure?.isFull == true && failure?.asStoreError == .full)
    #expect(writer.revision == 2)
    guard case .found(let version) = try reader.lookUp(key, version: nil) else { throw failure! }
    #expect(version.version == 1 && version.value?.count == 10)
    _ = try writer.connection.text("pragma max_page_count = 100000")
    try put(200_000)
    #expect(writer.revision == 4)
    reader.close()
    writer.close()
  }

  @Test("of all bytes that may change in a file, none makes a key vanish or have another value") func flippedBytes()
    throws
  {
    let folder = TemporaryFolder()
    let place = place(in: folder)
    var model = PartitionModel(maxVersions: 100)
    var changes = RandomChanges(seed: 3)
    let (writer, reader) = try open(place)
    for _ in 0..<6 {
      let batch = (0..<12).map { _ in changes.next() }
      let now = changes.now
      #expect(try writer.apply(batch, at: now) == batch.map { model.apply($0, at: now) })
    }
    try writer.connection.checkpoint(restarts: true)
    reader.close()
    writer.close()
    let whole = try Data(contentsOf: URL(fileURLWithPath: place.path))
    var (noticed, harmless) = (0, 0)
    for seed in 0..<120 {
      var random = SeededRandom(seed: UInt64(seed))
      let other = TemporaryFolder()
      let copy = PartitionPlace(folder: other.path, partition: 0, partitions: 1)
      var bytes = whole
      bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
      try bytes.write(to: URL(fileURLWithPath: copy.path))
      do {
        let (writer, reader) = try open(copy, acknowledged: model.revision)
        defer {
          reader.close()
          writer.close()
        }
        for (key, all) in model.keys {
          let (newest, history) = (
            try reader.lookUp(key, version: nil), try reader.history(key, before: nil, limit: 99)
          )
          #expect(newest == model.lookUp(key, version: nil), "seed \(seed)")
          #expect(history == all.reversed(), "seed \(seed)")
        }
        let (range, now) = (KeyRange(prefix: ""), changes.now)
        #expect(try reader.keys(in: range, after: nil, limit: 99, at: now) == model.entries(in: range, at: now))
        harmless += 1
      } catch let error as SQLiteFailure {
        #expect(!error.isFull && !error.isBusy, "\(error)")
        noticed += 1
      }
    }
    // Most of a file is room for more.
    #expect(noticed > 10 && harmless > 10, "\(noticed) noticed, \(harmless) harmless")
  }

  @Test(
    "whatever stands in a row in the place of what was written is noticed by whoever needs it",
    arguments: [
      "update item set latest = latest - 1", "update item set oldest = oldest + 1", "update item set is_live = 0",
      "update item set expires = 1", "delete from version where version = 3", "update version set value = '4'",
      "update version set value = null", "update version set created = created + 1", "update version set expires = 1",
      "update version set revision = revision + 10", "update change set outcome = 'create 1 0 1 1 1 -'",
      "update change set fingerprint = x'02'",
    ]) func otherHands(sql: String) throws
  {
    let folder = TemporaryFolder()
    let (writer, reader) = try open(place(in: folder))
    let key = StoreKey("a")!
    let changes = (1...3).map { number in
      Change(
        [Change.Step(key, .put(Array("\(number)".utf8), lifetime: nil))],
        name: number == 3 ? Change.Name([1], fingerprint: [1]) : nil)
    }
    _ = try writer.apply(changes, at: .current())
    try writer.connection.run(sql)
    var noticed = 0
    for look in 0..<3 {
      do {
        switch look {
        case 0: _ = try reader.lookUp(key, version: nil)
        case 1: _ = try reader.lookUp(key, version: 3)
        default: _ = try writer.apply([changes[2]], at: .current())
        }
      } catch {
        #expect(error.isDamage && error.isOfRow, "\(error)")
        noticed += 1
      }
    }
    #expect(noticed > 0)
    reader.close()
    writer.close()
  }

  @Test("a change that was acknowledged is missed when it is gone from the log") func flippedLog() throws {
    let folder = TemporaryFolder()
    let place = place(in: folder)
    let (writer, reader) = try open(place)
    for number in 1...5 {
      let value = Array("\(number)".utf8)
      _ = try writer.apply([Change([Change.Step(StoreKey("a")!, .put(value, lifetime: nil))])], at: .current())
    }
    var missed = 0
    for seed in 0..<40 {
      var random = SeededRandom(seed: UInt64(seed))
      let other = TemporaryFolder()
      let copy = PartitionPlace(folder: other.path, partition: 0, partitions: 1)
      // As a process leaves it that is killed.
      try Data(contentsOf: URL(fileURLWithPath: place.path)).write(to: URL(fileURLWithPath: copy.path))
      var log = try Data(contentsOf: URL(fileURLWithPath: place.path + "-wal"))
      log[Int.random(in: 32..<log.count, using: &random)] ^= 1
      try log.write(to: URL(fileURLWithPath: copy.path + "-wal"))
      do {
        let (writer, reader) = try open(copy, acknowledged: 5)
        Issue.record("seed \(seed): revision \(writer.revision)")
        reader.close()
        writer.close()
      } catch let error as SQLiteFailure {
        #expect(error.isDamage, "\(error)")
        missed += 1
      }
    }
    #expect(missed == 40)
    reader.close()
    writer.close()
  }

  @Test("a file of another partition, or of no store, is not used") func foreign() throws {
    let folder = TemporaryFolder()
    let (writer, reader) = try open(place(in: folder))
    try writer.connection.checkpoint(restarts: true)
    reader.close()
    writer.close()
    let path = folder.path + "/partition-0.sqlite"
    try FileManager.default.moveItem(atPath: path, toPath: folder.path + "/partition-1.sqlite")
    let moved = PartitionPlace(folder: folder.path, partition: 1, partitions: 2)
    #expect(throws: SQLiteFailure.self) { try open(moved) }
    try Data("no database".utf8).write(to: URL(fileURLWithPath: path))
    #expect(throws: SQLiteFailure.self) { try open(place(in: folder)) }
  }

  @Test("a file is taken over while a tool reads it, and the tool goes on to see what was there when it began")
  func readers() throws {
    let folder = TemporaryFolder()
    let place = place(in: folder)
    let (writer, reader) = try open(place)
    let change = Change([Change.Step(StoreKey("a")!, .put([0x31], lifetime: nil))])
    _ = try writer.apply([change, change], at: .current())
    let tool = try PartitionFile.openForReading(place)
    let rows = try tool.statement("select version from version order by version")
    #expect(try rows.step())
    // As when the owner dies.
    reader.close()
    writer.close()
    let (next, other) = try open(place, acknowledged: 2)
    _ = try next.apply([change], at: .current())
    #expect(try other.lookUp(StoreKey("a")!, version: nil) == .found(next.lookUp(StoreKey("a")!, version: 3).version!))
    #expect(try rows.step())
    #expect(try !rows.step())
    rows.reset()
    for file in [tool, other, next] { file.close() }
  }

  @Test("names of changes are forgotten after a day, and not before") func names() throws {
    let folder = TemporaryFolder()
    let (writer, reader) = try open(place(in: folder))
    let change = Change(
      [Change.Step(StoreKey("a")!, .put([0x31], lifetime: nil))], name: Change.Name([1], fingerprint: [1]))
    var now = Timestamp.current()
    func isReplayed() throws -> Bool {
      if case .done(_, let isReplayed) = try writer.apply([change], at: now)[0] { isReplayed } else { false }
    }
    #expect(try !isReplayed())
    let others = (0..<Limits.namesForgottenAtOnce).map { number in
      Change(change.steps, name: Change.Name(Array("\(number)".utf8), fingerprint: [1]))
    }
    _ = try writer.apply(others, at: now)
    now.microseconds += 86_399_000_000
    #expect(try !writer.forgetNames(at: now))
    #expect(try isReplayed())
    now.microseconds += 2_000_000
    #expect(try writer.forgetNames(at: now), "there is one more")
    #expect(try !writer.forgetNames(at: now))
    #expect(try !isReplayed())
    reader.close()
    writer.close()
  }
}

extension Lookup {
  fileprivate var version: StoredVersion? { if case .found(let version) = self { version } else { nil } }
}
