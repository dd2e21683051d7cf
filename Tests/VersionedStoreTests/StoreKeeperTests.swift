import Basics
import Foundation
import Glibc
import TestSupport
import Testing

@testable import VersionedStore

@Suite("Tools on the files of a store", .timeLimit(.minutes(5))) struct StoreKeeperTests {
  private static func lines(of folder: StoreFolder) throws -> [ArchiveLine] {
    var lines: [ArchiveLine] = []
    try StoreKeeper(folder, holder: "test").forEachLine { lines.append($0) }
    return lines.sorted { ($0.key, $0.version.version) < ($1.key, $1.version.version) }
  }

  /// A store of three partitions after changes by chance, and what its keys should be.
  private static func store(
    _ files: TemporaryFolder, seed: Int, maxVersions: Int64 = 4
  ) throws -> (folder: StoreFolder, models: [PartitionModel]) {
    let folder = try StoreFolder(files.path + "/kv", partitions: 3)
    var changes = RandomChanges(seed: seed)
    var models: [PartitionModel] = []
    for partition in 0..<3 {
      let writer = try PartitionFile.openForWriting(
        folder.place(of: partition), maxVersions: maxVersions, acknowledged: 0)
      var model = PartitionModel(maxVersions: maxVersions)
      for _ in 0..<120 {
        let change = changes.next()
        guard change.steps.allSatisfy({ Placement.partition(of: $0.key, of: 3) == partition }) else { continue }
        let outcomes = try writer.apply([change], at: changes.now)
        #expect(outcomes == [model.apply(change, at: changes.now)])
      }
      writer.close()
      models.append(model)
    }
    return (folder, models)
  }

  private static func fill(_ folder: StoreFolder, _ lines: [ArchiveLine]) throws(StoreError) -> Int {
    var rest = lines[...]
    return try StoreKeeper(folder, holder: "test").fill { () throws(StoreError) in rest.popFirst() }
  }

  @Test("what is taken out of a store and put into another one, of other partitions, is the same") func moving() throws
  {
    for seed in 0..<6 {
      let files = TemporaryFolder()
      let (folder, models) = try Self.store(files, seed: seed)
      let lines = try Self.lines(of: folder)
      let all = models.flatMap { model in model.keys.flatMap { key, versions in versions.map { (key, $0.version) } } }
      #expect(lines.count == all.count && lines.count > 10)
      // Through text, as it is in a file.
      let read = lines.compactMap { ArchiveLine(json: $0.json) }
      #expect(read == lines)
      let other = try StoreFolder(files.path + "/other", partitions: 5)
      #expect(try Self.fill(other, read) == lines.count)
      #expect(try Self.lines(of: other) == lines)
      // The next version of each key is one more.
      let key = lines[0].key
      let last = lines.last { $0.key == key }!.version.version
      let place = other.place(of: Placement.partition(of: key, of: 5))
      let writer = try PartitionFile.openForWriting(place, maxVersions: 99, acknowledged: 0)
      let change = Change([Change.Step(key, .put([0x31], lifetime: nil))])
      guard case .done(let results, _) = try writer.apply([change], at: .current())[0] else { throw StoreError.busy }
      #expect(results[0].version == last + 1)
      writer.close()
      #expect(throws: StoreError.self, "a key is there already") { try Self.fill(other, read) }
      // What was broken off is taken back, and nothing of it counts as acknowledged.
      let fresh = (0..<9).map { ArchiveLine(key: StoreKey("new \($0)")!, version: lines[0].version.first) }
      #expect(throws: StoreError.self) { try Self.fill(other, fresh + [read[0]]) }
      #expect(try Self.lines(of: other).count == lines.count + 1)
      #expect(try Self.fill(other, fresh) == 9)
      let gap = lines.filter { $0.version.version != last - 1 || $0.key != key }
      if gap.count < lines.count, lines.count(where: { $0.key == key }) > 2 {
        let third = try StoreFolder(files.path + "/third", partitions: 1)
        #expect(throws: StoreError.self, "a gap") { try Self.fill(third, gap) }
      }
    }
  }

  @Test("lines that no store has written are none") func strangeLines() {
    let good = #"{"key":"a","version":1,"timestamp":"2026-01-31T12:00:00.000001Z","value":[1]}"#
    #expect(ArchiveLine(json: Array(good.utf8)).map { String(decoding: $0.json, as: UTF8.self) } == good)
    for bad in [
      "", "{}", good + "x", good.replacing("\"a\"", with: "\"\""), good.replacing(":1,", with: ":0,"),
      good.replacing(":1,", with: ":9223372036854775807,"),
      good.replacing("value", with: "values"), good.replacing("[1]}", with: "[1],\"deleted\":true}"),
      good.replacing("2026", with: "x"), good.replacing(",\"value\":[1]", with: ""),
      good.replacing(",\"value", with: ",\"expires_at\":\"soon\",\"value"),
      good.replacing("\"value\":[1]", with: "\"expires_at\":\"2026-01-31T12:00:00Z\",\"deleted\":true"),
    ] {
      #expect(ArchiveLine(json: Array(bad.utf8)) == nil, "\(bad)")
    }
  }

  @Test("a copy can be used as a store, and is made also while somebody writes") func backup() throws {
    let files = TemporaryFolder()
    let (folder, _) = try Self.store(files, seed: 1)
    let lines = try Self.lines(of: folder)
    let (writer, reader) = try open(folder.place(of: 0))
    try StoreKeeper(folder, holder: "test").backUp(to: files.path + "/copy")
    let copy = try StoreFolder(existing: files.path + "/copy")
    #expect(copy.partitions == 3)
    #expect(try Self.lines(of: copy) == lines)
    #expect(throws: StoreError.self) { try StoreKeeper(folder, holder: "test").backUp(to: files.path + "/copy") }
    reader.close()
    writer.close()
    // Broken off, with a part of the keys.
    unlink(files.path + "/copy/store")
    unlink(copy.place(of: 1).path)
    for partitions in [3, 8] {
      let error = #expect(throws: StoreError.self) { try StoreFolder(files.path + "/copy", partitions: partitions) }
      #expect(error?.description.contains("a backup was broken off") == true)
    }
    #expect(throws: StoreError.self) { try StoreKeeper(folder, holder: "test").backUp(to: files.path + "/copy") }
  }

  @Test("a copy that breaks off does not pass for a store") func brokenBackup() throws {
    let files = TemporaryFolder()
    let (folder, _) = try Self.store(files, seed: 1)
    let path = folder.place(of: 2).path
    unlink(path + "-wal")
    try ByteFile.write([UInt8](repeating: 0x5A, count: 8192), path)
    #expect(throws: StoreError.self) { try StoreKeeper(folder, holder: "test").backUp(to: files.path + "/copy") }
    #expect(access(files.path + "/copy/partition-0.sqlite", F_OK) == 0)
    #expect(throws: StoreError.self) { try StoreFolder(existing: files.path + "/copy") }
    #expect(throws: StoreError.self) { try StoreFolder(files.path + "/copy", partitions: 3) }
  }

  @Test("what nobody needs is counted and removed, not beside a server unless that is wanted, and nothing else")
  func cleaning() throws {
    let files = TemporaryFolder()
    let folder = try StoreFolder(files.path, partitions: 1)
    let place = folder.place(of: 0)
    let (writer, reader) = try open(place)
    func put(_ key: String, _ value: String) throws {
      let step = Change.Step(StoreKey(key)!, .put(Array(value.utf8), lifetime: nil))
      _ = try writer.apply([Change([step])], at: .current())
    }
    for number in 1...5 { try put("kept", "\(number)") }
    for number in 1...3 { try put("deleted", "\(number)") }
    _ = try writer.apply([Change([Change.Step(StoreKey("deleted")!, .delete)])], at: .current())
    let keeper = StoreKeeper(folder, holder: "cleaner")
    let (figures, waste) = try keeper.survey(maxVersions: 2)
    #expect(figures.keys == 1 && figures.versions == 9 && figures.fileBytes > 0)
    #expect(waste.versions == 6 && waste.bytes == 6 && waste.names == 0)
    guard case .taken(let lock) = try PartitionLock.take(place.lockPath, for: "server-1") else { throw StoreError.busy }
    #expect(throws: StoreError.held(by: "server-1")) { try keeper.clean(maxVersions: 2, isOnline: false) }
    #expect(try keeper.survey(maxVersions: 2).waste == waste)
    try keeper.clean(maxVersions: 2, isOnline: true)
    #expect(try keeper.survey(maxVersions: 2).waste.versions == 0)
    // The server goes on, and knows what is not there any more.
    try put("kept", "6")
    #expect(try reader.history(StoreKey("kept")!, before: nil, limit: 9).map(\.version) == [6, 5, 4])
    #expect(try reader.lookUp(StoreKey("kept")!, version: 1) == .compacted(oldest: 4))
    #expect(try reader.events(in: KeyRange(prefix: ""), since: 2).hasGap)
    reader.close()
    writer.close()
    lock.release()
    try keeper.clean(maxVersions: 1, isOnline: false)
    #expect(try keeper.survey(maxVersions: 1).figures.versions == 2)
    let again = try open(place, acknowledged: 10)
    #expect(again.writer.revision == 10)
    #expect(try again.reader.lookUp(StoreKey("deleted")!, version: 1) == .compacted(oldest: 4))
    again.reader.close()
    again.writer.close()
  }
}

extension StoredVersion {
  /// The same as the first of its key.
  fileprivate var first: StoredVersion {
    StoredVersion(version: 1, revision: 0, timestamp: timestamp, value: [0x31])
  }
}
