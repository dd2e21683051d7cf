import Basics
import Glibc
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import VersionedStore

@Suite("A store in front of an engine", .timeLimit(.minutes(5))) struct StoreTests {
  private static let key = StoreKey("a")!

  private static func store(_ engine: any StoreEngine, entries: Int = 100) -> Store {
    Store(engine, partitionCount: 1, cacheEntriesMax: entries, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
  }

  private static func put(
    _ number: Int, _ store: Store, ifVersion: Int64? = nil, on reactor: isolated Reactor
  ) async throws(StoreError) -> ChangeOutcome {
    let condition = Condition(match: ifVersion.map { .these([$0]) })
    let step = Change.Step(key, .put(Array("\(number)".utf8), lifetime: nil), if: condition)
    return try await store.change(Change([step]), on: reactor)
  }

  private static func state(_ lookup: Lookup) -> KeyHistory.State? {
    guard case .found(let version) = lookup, let value = version.value else { return nil }
    return KeyHistory.State(version: version.version, value: Int(String(decoding: value, as: UTF8.self)))
  }

  /// Counts moments, so that what is begun and ended in one pass of the loop has an order too.
  private final class Ticks {
    private var last: UInt64 = 0
    var next: UInt64 {
      last += 1
      return last
    }
  }

  @Test("clients at once see one store, whatever is in memory, under way, or given away in between")
  func linearizability() async throws {
    try await onReactor { reactor in
      for seed in 0..<150 {
        let engine = FakeEngine(seed: seed)
        // Room for a value or two, so that they go and come.
        let store = Self.store(engine, entries: seed % 3 + 1)
        let (ticks, recorder) = (Ticks(), Recorder())
        let clients = (0..<5).map { client in
          Task.immediate(executorPreference: reactor.queue) {
            var random = SeededRandom(seed: UInt64(seed * 100 + client))
            for round in 0..<12 {
              await Self.act(client * 100 + round, store, &random, ticks, recorder, on: reactor)
            }
          }
        }
        let owner = Task.immediate(executorPreference: reactor.queue) {
          for _ in 0..<seed % 4 {
            for _ in 0..<20 { await reactor.sleep(for: .milliseconds(0)) }
            _ = await store.leave(0, unusedFor: .milliseconds(0), on: reactor)
          }
        }
        for client in clients { await client.value }
        await owner.value
        #expect(recorder.history.isLinearizable, "seed \(seed)")
        #expect(recorder.history.acknowledged == Array(1...Int64(engine.model.revision)), "seed \(seed)")
      }
    }
  }

  private final class Recorder {
    var history = KeyHistory()
  }

  private static func act(
    _ number: Int, _ store: Store, _ random: inout SeededRandom, _ ticks: Ticks, _ recorder: Recorder,
    on reactor: isolated Reactor
  ) async {
    let begin = ticks.next
    do throws(StoreError) {
      switch Int.random(in: 0..<8, using: &random) {
      case 0..<3:
        let found = try await store.newest(key, on: reactor).lookup
        recorder.history.add(.read(state(found)), from: begin, to: ticks.next)
      case 3:
        // What a history says is true at some moment, too.
        let newest = try await store.history(key, before: nil, limit: 1, on: reactor).first
        let seen = newest.map { state(.found($0)) } ?? nil
        recorder.history.add(.read(seen), from: begin, to: ticks.next)
      case 4:
        let wanted = Int64.random(in: 1...10, using: &random)
        switch try await put(number, store, ifVersion: wanted, on: reactor) {
        case .done(let results, _):
          recorder.history.add(
            .wrote(number, ifVersion: wanted, version: results[0].version), from: begin, to: ticks.next)
        case .refused(_, let current):
          recorder.history.add(.refused(ifVersion: wanted, current: current?.version), from: begin, to: ticks.next)
        default: Issue.record("neither done nor refused")
        }
      default:
        guard case .done(let results, _) = try await put(number, store, on: reactor) else {
          Issue.record("not done")
          return
        }
        recorder.history.add(.wrote(number, ifVersion: nil, version: results[0].version), from: begin, to: ticks.next)
      }
    } catch {
      Issue.record("\(error)")
    }
  }

  @Test("changes of one pass of the loop share a commit, and those that come meanwhile the next one")
  func groups() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      try await store.open(0, on: reactor)
      engine.hold()
      let first = (0..<7).map { number in
        Task.immediate(executorPreference: reactor.queue) { try await Self.put(number, store, on: reactor) }
      }
      while engine.commits.isEmpty { await reactor.sleep(for: .milliseconds(0)) }
      let second = (0..<1000).map { number in
        Task.immediate(executorPreference: reactor.queue) { try await Self.put(number, store, on: reactor) }
      }
      await reactor.sleep(for: .milliseconds(1))
      #expect(engine.commits == [7])
      engine.release()
      for task in first + second { _ = try await task.value }
      #expect(engine.commits == [7, 512, 488])
      await store.close(on: reactor)
    }
  }

  @Test("what is read beside a change is not kept, and neither is what was known before a failure")
  func reading() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      _ = try await Self.put(1, store, on: reactor)
      #expect(try await store.newest(Self.key, on: reactor).isCached)
      // The change is on its way, and the read with it.
      engine.hold()
      let change = Task.immediate(executorPreference: reactor.queue) { try await Self.put(2, store, on: reactor) }
      while engine.commits.count == 1 { await reactor.sleep(for: .milliseconds(0)) }
      engine.release()
      let beside = try await store.newest(Self.key, on: reactor)
      #expect(!beside.isCached)
      _ = try await change.value
      let behind = try await store.newest(Self.key, on: reactor)
      #expect(behind.isCached && Self.state(behind.lookup) == KeyHistory.State(version: 2, value: 2))
      engine.failure = .failed("the disk is gone")
      await #expect(throws: StoreError.self) { try await Self.put(3, store, on: reactor) }
      engine.failure = nil
      #expect(try await !store.newest(Self.key, on: reactor).isCached)
      #expect(try await store.newest(Self.key, on: reactor).isCached)
      engine.failure = .full
      await #expect(throws: StoreError.full) { try await Self.put(3, store, on: reactor) }
      engine.failure = nil
      _ = try await store.newest(Self.key, on: reactor)
      _ = await store.leave(0, unusedFor: .milliseconds(0), on: reactor)
      #expect(try await !store.newest(Self.key, on: reactor).isCached)
      await store.close(on: reactor)
    }
  }

  @Test("a partition is given away when it is unused, with all that is under way done, and taken back when asked for")
  func leaving() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      _ = try await Self.put(1, store, on: reactor)
      #expect(await !store.leave(0, unusedFor: .seconds(60 as UInt64), on: reactor))
      #expect(store.holds(0) && engine.openings == 1)
      engine.hold()
      let change = Task.immediate(executorPreference: reactor.queue) { try await Self.put(2, store, on: reactor) }
      while engine.commits.count == 1 { await reactor.sleep(for: .milliseconds(0)) }
      let leaving = Task.immediate(executorPreference: reactor.queue) {
        await store.leave(0, unusedFor: .milliseconds(0), on: reactor)
      }
      while store.holds(0) { await reactor.sleep(for: .milliseconds(0)) }
      #expect(engine.isOpen)
      engine.release()
      _ = try await change.value
      #expect(await leaving.value)
      #expect(!store.holds(0) && !engine.isOpen && engine.model.revision == 2)
      engine.failure = .held(by: "server-2")
      await #expect(throws: StoreError.held(by: "server-2")) { try await store.newest(Self.key, on: reactor) }
      engine.failure = nil
      let opening = engine.openings
      let reads = (0..<20).map { _ in
        Task.immediate(executorPreference: reactor.queue) { try await store.newest(Self.key, on: reactor).lookup }
      }
      for read in reads { #expect(try await Self.state(read.value)?.version == 2) }
      #expect(engine.openings == opening + 1)
      await store.close(on: reactor)
      #expect(!engine.isOpen)
    }
  }

  @Test("what cannot be opened is not tried anew for each who waits, and again after a moment") func opening()
    async throws
  {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      engine.failure = .damaged("a byte")
      let reads = (0..<50).map { _ in
        Task.immediate(executorPreference: reactor.queue) {
          await #expect(throws: StoreError.damaged("a byte")) { try await store.newest(Self.key, on: reactor) }
        }
      }
      for read in reads { _ = await read.value }
      #expect(engine.attempts == 1)
      engine.failure = nil
      while (try? await store.open(0, on: reactor)) == nil { await reactor.sleep(for: .milliseconds(10)) }
      #expect(engine.attempts == 2)
      await store.close(on: reactor)
    }
  }

  @Test("values past their time do not take back a partition that is being given away") func expiryWhileLeaving()
    async throws
  {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      _ = try await Self.put(1, store, on: reactor)
      engine.due = [Self.key]
      engine.hold()
      while engine.looksForDue == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let leaving = Task.immediate(executorPreference: reactor.queue) {
        await store.leave(0, unusedFor: .milliseconds(0), on: reactor)
      }
      while store.holds(0) { await reactor.sleep(for: .milliseconds(0)) }
      engine.release()
      #expect(await leaving.value)
      // Whatever was begun has had its turn.
      for _ in 0..<20 { await reactor.sleep(for: .milliseconds(0)) }
      #expect(!store.holds(0) && !engine.isOpen && engine.attempts == 1)
    }
  }

  @Test("it is looked for values past their time again when that has failed, and tidied until nothing is left")
  func upkeep() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      engine.untidy = 7
      let store = Self.store(engine)
      _ = try await Self.put(1, store, on: reactor)
      while engine.untidy > 0 { await reactor.sleep(for: .milliseconds(0)) }
      engine.failure = .busy
      while engine.looksForDue < 2 { await reactor.sleep(for: .milliseconds(1)) }
      engine.failure = nil
      await store.close(on: reactor)
    }
  }

  @Test("more changes than may wait are refused, and those that wait are done") func waiting() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Self.store(engine)
      try await store.open(0, on: reactor)
      engine.hold()
      let tasks = (0..<Limits.changesWaitingMax + 10).map { number in
        Task.immediate(executorPreference: reactor.queue) { () -> Bool in
          do throws(StoreError) { _ = try await Self.put(number, store, on: reactor) } catch {
            #expect(error == .busy)
            return false
          }
          return true
        }
      }
      while engine.commits.isEmpty { await reactor.sleep(for: .milliseconds(0)) }
      engine.release()
      var done = 0
      for task in tasks where await task.value { done += 1 }
      #expect(done == Limits.changesWaitingMax)
      await store.close(on: reactor)
    }
  }
}

@Suite("A store on files", .timeLimit(.minutes(5))) struct FileStoreTests {
  private static func engine(_ folder: StoreFolder, _ holder: String = "server-1") throws -> SQLiteEngine {
    try SQLiteEngine(folder, holder: holder, maxVersions: 100)
  }

  private static func store(_ engine: SQLiteEngine, _ folder: StoreFolder) -> Store {
    Store(
      engine, partitionCount: folder.partitions, cacheEntriesMax: 10, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
  }

  private static func put(
    _ key: String, _ value: String, lifetime: TimeSpan? = nil, _ store: Store, on reactor: isolated Reactor
  ) async throws(StoreError) -> ChangeOutcome {
    let step = Change.Step(StoreKey(key)!, .put(Array(value.utf8), lifetime: lifetime))
    return try await store.change(Change([step]), on: reactor)
  }

  @Test("of two servers on one folder the second is told who has a partition, until that one leaves")
  func ownership() async throws {
    let files = TemporaryFolder()
    try await onReactor { reactor in
      let folder = try StoreFolder(files.path, partitions: 2)
      let first = Self.store(try Self.engine(folder, "server-1"), folder)
      let second = Self.store(try Self.engine(folder, "server-2"), folder)
      for number in 0..<8 { _ = try await Self.put("\(number)", "1", first, on: reactor) }
      #expect(first.open == [0, 1] && folder.holders == ["server-1", "server-1"])
      await #expect(throws: StoreError.held(by: "server-1")) { try await Self.put("1", "2", second, on: reactor) }
      await #expect(throws: StoreError.held(by: "server-1")) {
        try await second.newest(StoreKey("1")!, on: reactor)
      }
      await first.close(on: reactor)
      #expect(folder.holders == [nil, nil])
      guard case .done(let results, _) = try await Self.put("1", "2", second, on: reactor) else {
        throw StoreError.busy
      }
      #expect(results[0].version == 2 && results[0].operation == .update)
      await second.close(on: reactor)
    }
  }

  private static func partition(_ place: PartitionPlace) throws -> SQLitePartition {
    guard case .taken(let lock) = try PartitionLock.take(place.lockPath, for: "test") else { throw StoreError.busy }
    let threads = SQLitePartition.Threads(writers: try ComputePool(width: 1), readers: try ComputePool(width: 1))
    return SQLitePartition(place, lock: lock, maxVersions: 9, threads: threads)
  }

  @Test("a file that fails is closed, opened anew and checked before anything else is asked of it")
  func mending() async throws {
    let files = TemporaryFolder()
    try await onReactor { reactor in
      let place = place(in: files)
      let partition = try Self.partition(place)
      let change = Change([Change.Step(StoreKey("a")!, .put([0x31], lifetime: nil))])
      let first = try await partition.write(on: reactor) { (file) throws(SQLiteFailure) in
        _ = try file.apply([change], at: .current())
        return file
      }
      // As a sync that has failed: extended code SQLITE_IOERR_FSYNC. Whoever waits behind it gets the new file.
      let gate = Locked(0)
      let failing = Task.immediate(executorPreference: reactor.queue) {
        await #expect(throws: StoreError.failed("a sync has failed")) {
          try await partition.write(on: reactor) { (_) throws(SQLiteFailure) -> Int in
            gate.withLock { $0 = 1 }
            _ = gate.wait { $0 == 2 ? true : nil }
            throw SQLiteFailure(code: 1034, description: "a sync has failed")
          }
        }
      }
      while gate.withLock({ $0 }) == 0 { await reactor.sleep(for: .milliseconds(1)) }
      let waiting = Task.immediate(executorPreference: reactor.queue) {
        try await partition.write(on: reactor) { (file) throws(SQLiteFailure) in file }
      }
      await reactor.sleep(for: .milliseconds(1))
      gate.withLock { $0 = 2 }
      gate.notifyAll()
      let behind = try await waiting.value
      _ = await failing.value
      #expect(behind !== first)
      // What is broken for good is not answered from, by either lane, until it is mended.
      let whole = try await partition.write(on: reactor) { (file) throws(SQLiteFailure) -> [UInt8] in
        try file.connection.checkpoint(restarts: true)
        return (try? ByteFile.read(place.path)) ?? []
      }
      let error = await #expect(throws: StoreError.self) {
        try await partition.read(on: reactor) { (_) throws(SQLiteFailure) -> Int in
          try? ByteFile.write([UInt8](repeating: 0x5A, count: 65_536), place.path)
          throw SQLiteFailure(code: 1034, description: "a read has failed")
        }
      }
      #expect(error == .failed("a read has failed"))
      for _ in 0..<3 {
        await #expect(throws: StoreError.self) {
          try await partition.read(on: reactor) { (file) throws(SQLiteFailure) in
            try file.lookUp(StoreKey("b")!, version: nil)
          }
        }
      }
      try ByteFile.write(whole, place.path)
      var found: Lookup?
      while found == nil {
        found = try? await partition.read(on: reactor) { (file) throws(SQLiteFailure) in
          try file.lookUp(StoreKey("a")!, version: nil)
        }
        // It is opened again a moment after the last attempt.
        if found == nil { await reactor.sleep(for: .milliseconds(20)) }
      }
      guard case .found(let version)? = found else { throw StoreError.busy }
      #expect(version.value == [0x31] && version.version == 1)
      await partition.close(on: reactor)
      #expect(PartitionLock.holder(place.lockPath) == nil)
    }
  }

  @Test("a value past its time becomes a deletion with a version of its own, and news") func expiry() async throws {
    let files = TemporaryFolder()
    try await onReactor { reactor in
      let folder = try StoreFolder(files.path, partitions: 1)
      let store = Self.store(try Self.engine(folder), folder)
      _ = try await Self.put("a", "1", lifetime: .milliseconds(300), store, on: reactor)
      let pause = Pause()
      store.watch([0], pause, on: reactor)
      while store.revision(of: 0) < 2 { await pause.wait(until: .never, on: reactor) }
      store.unwatch([0], pause)
      let page = try await store.events(in: KeyRange(prefix: ""), since: 0, of: 0, on: reactor)
      #expect(page.events.map(\.version.version) == [1, 2] && page.events.last?.version.value == nil)
      // Also one that ended while nobody had the partition.
      _ = try await Self.put("b", "1", lifetime: .milliseconds(1), store, on: reactor)
      await store.close(on: reactor)
      let again = Self.store(try Self.engine(folder), folder)
      try await again.open(0, on: reactor)
      again.watch([0], pause, on: reactor)
      while again.revision(of: 0) < 4 { await pause.wait(until: .never, on: reactor) }
      #expect(try await again.figures(of: 0, on: reactor).keys == 0)
      await again.close(on: reactor)
    }
  }

  @Test("a log that has grown goes into the file, behind the answers") func checkpoints() async throws {
    let files = TemporaryFolder()
    try await onReactor { reactor in
      let folder = try StoreFolder(files.path, partitions: 1)
      let store = Self.store(try Self.engine(folder), folder)
      let value = "\"" + String(repeating: "v", count: 100_000) + "\""
      for number in 0..<120 { _ = try await Self.put("\(number % 10)", value, store, on: reactor) }
      // 3,000 pages were written; the log began anew instead of growing to that.
      let log = try ByteFile.read(folder.place(of: 0).path + "-wal").count
      #expect(folder.place(of: 0).bytes > 12_000_000 && log < 9_000_000)
      await store.close(on: reactor)
      #expect(try ByteFile.read(folder.place(of: 0).path + "-wal").isEmpty)
    }
  }
}

enum ByteFile {
  static func read(_ path: String) throws(SystemError) -> [UInt8] {
    let fd = try systemCall("open") { open(path, O_RDONLY) }
    defer { close(fd) }
    var status = stat()
    fstat(fd, &status)
    var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
    let count = try systemCall("read") { Glibc.read(fd, &bytes, bytes.count) }
    return Array(bytes[..<count])
  }

  /// In the place of what there is, in the same file.
  static func write(_ bytes: [UInt8], _ path: String) throws(SystemError) {
    let fd = try systemCall("open") { open(path, O_WRONLY | O_TRUNC) }
    defer { close(fd) }
    var written = 0
    while written < bytes.count {
      written += try systemCall("write") {
        bytes.withUnsafeBytes { Glibc.write(fd, $0.baseAddress! + written, $0.count - written) }
      }
    }
  }
}
