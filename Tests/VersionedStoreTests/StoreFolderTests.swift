import Basics
import Foundation
import TestSupport
import Testing

@testable import VersionedStore

@Suite("The folder of a store", .timeLimit(.minutes(5))) struct StoreFolderTests {
  private struct Held: Error {
    let by: String
  }

  private static func take(_ path: String, for holder: String) throws -> PartitionLock {
    switch try PartitionLock.take(path, for: holder) {
    case .taken(let lock): return lock
    case .held(let name): throw Held(by: name)
    }
  }

  @Test("a partition has one holder, whose name others are told, and none when that one is gone") func locks() throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/lock"
    #expect(PartitionLock.holder(path) == nil)
    var first: PartitionLock? = try Self.take(path, for: "server 1")
    #expect(first?.mark == 0)
    first?.mark(12_345_678_901)
    #expect(PartitionLock.holder(path) == "server 1")
    for _ in 0..<2 {
      let error = #expect(throws: Held.self) { try Self.take(path, for: "server-2") }
      #expect(error?.by == "server 1")
    }
    #expect(first?.mark == 12_345_678_901)
    #expect(try String(contentsOfFile: path, encoding: .utf8).hasPrefix("server 1 \(getpid())\n"))
    first = nil
    #expect(PartitionLock.holder(path) == nil)
    let second = try Self.take(path, for: "server-2")
    #expect(second.mark == 12_345_678_901 && PartitionLock.holder(path) == "server-2")
  }

  @Test("a store keeps the partitions that it was made with") func partitions() throws {
    let folder = TemporaryFolder()
    let path = folder.path + "/a/b"
    #expect(throws: StoreError.self) { try StoreFolder(existing: path) }
    #expect(try StoreFolder(path, partitions: 5).partitions == 5)
    #expect(try StoreFolder(path, partitions: 8).partitions == 5)
    #expect(try StoreFolder(existing: path).partitions == 5)
    #expect(throws: StoreError.self) { try StoreFolder(path, partitions: 8, isWish: true) }
    #expect(try FileManager.default.contentsOfDirectory(atPath: path) == ["store"])
    // A process of the same number, in another container, is at it too, and has come further.
    let other = folder.path + "/c"
    try FileManager.default.createDirectory(atPath: other, withIntermediateDirectories: true)
    try "theirs".write(toFile: other + "/store.\(getpid())", atomically: true, encoding: .utf8)
    #expect(try StoreFolder(other, partitions: 5).partitions == 5)
    #expect(try String(contentsOfFile: other + "/store.\(getpid())", encoding: .utf8) == "theirs")
    for text in ["", "store 2\npartitions 5\n", "store 1\npartitions 0\n", "store 1\npartitions 65\n", "x"] {
      try text.write(toFile: path + "/store", atomically: true, encoding: .utf8)
      #expect(throws: StoreError.self, "\(text)") { try StoreFolder(path, partitions: 5) }
    }
  }
}
