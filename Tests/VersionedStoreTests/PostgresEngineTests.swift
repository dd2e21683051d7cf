import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import VersionedStore

private let server = try! TestServer.postgres()
private let pool = try! ComputePool(width: 2)
private let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)

@Suite("The engine in PostgreSQL", .serialized, .timeLimit(.minutes(5))) struct PostgresEngineTests {
  private static func configuration(_ database: String) -> PostgresConfiguration {
    var configuration = PostgresConfiguration()
    (configuration.hosts, configuration.database) = ([server.directory], database)
    return configuration
  }

  /// Runs `body` with a database of its own that has the tables, and two partitions.
  private static func withDatabase(
    _ name: String, _ body: @escaping @Sendable (PostgresConfiguration, isolated Reactor) async throws -> Void
  ) async throws {
    try await onReactor { reactor in
      let admin = try await PostgresConnection.connect(
        configuration("postgres"), helpers: PostgresConnection.Helpers(pool: pool), on: reactor)
      _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
      admin.close(on: reactor)
      let database = configuration(name)
      #expect(try await StoreSchema.migrate(database, pool: pool, log: quiet, on: reactor) == [1])
      #expect(try await StoreSchema.migrate(database, pool: pool, log: quiet, on: reactor) == [])
      let count = try await StoreSchema.partitions(
        database, wished: 2, isWish: true, pool: pool, log: quiet, on: reactor)
      #expect(count == 2)
      try await body(database, reactor)
    }
  }

  private static func engine(
    _ database: PostgresConfiguration, maxVersions: Int = 100, on reactor: isolated Reactor
  ) -> PostgresEngine {
    let engine = PostgresEngine(
      database, partitions: 2, maxVersions: maxVersions, pool: pool, log: quiet, metrics: sharedMetrics)
    engine.start(on: reactor)
    return engine
  }

  /// What does not depend on whose clock it was.
  private static func plain(_ outcome: ChangeOutcome) -> String {
    switch outcome {
    case .done(let results, let isReplayed):
      "\(isReplayed) "
        + results.map { "\($0.operation) \($0.version) \($0.previous) \($0.kept) \($0.revision)" }.joined(
          separator: ",")
    case .refused(let step, let current): "refused \(step) \(current.map { plain($0) } ?? "nothing")"
    case .missing(let step): "missing \(step)"
    case .conflict: "conflict"
    }
  }

  private static func plain(_ version: StoredVersion) -> String {
    "\(version.version) \(version.revision) \(version.value.map { String(decoding: $0, as: UTF8.self) } ?? "deleted")"
  }

  private static func plain(_ lookup: Lookup) -> String {
    switch lookup {
    case .found(let version): plain(version)
    case .compacted(let oldest): "compacted \(oldest)"
    case .none: "none"
    }
  }

  @Test("whatever is changed, PostgreSQL says what a few lines without a table say") func model() async throws {
    try await Self.withDatabase("model") { database, reactor in
      for seed in 0..<2 {
        let maxVersions = 3 + seed * 20
        let engine = Self.engine(database, maxVersions: maxVersions, on: reactor)
        var changes = RandomChanges(seed: seed, hasLifetimes: false)
        var model = PartitionModel(maxVersions: Int64(maxVersions))
        for round in 0..<25 {
          let batch = (0..<Int.random(in: 1...12, using: &changes.random)).map { _ in changes.next() }
          let (outcomes, revision) = try await engine.write(batch, to: seed, on: reactor)
          let expected = batch.map { model.apply($0, at: changes.now) }
          #expect(outcomes.map(Self.plain) == expected.map(Self.plain), "seed \(seed), round \(round)")
          #expect(revision == model.revision)
          try await Self.compare(engine, seed, model, &changes, on: reactor)
        }
        engine.end(on: reactor)
      }
    }
  }

  private static func compare(
    _ engine: PostgresEngine, _ partition: Int, _ model: PartitionModel, _ changes: inout RandomChanges,
    on reactor: isolated Reactor
  ) async throws {
    let key = changes.key()
    for version in [nil, 1, 2, 7, 40] as [Int64?] {
      let found = try await engine.lookUp(key, version: version, in: partition, on: reactor)
      #expect(plain(found) == plain(model.lookUp(key, version: version)))
    }
    let all = (model.keys[key] ?? []).reversed().map { plain($0) }
    let history = try await engine.history(key, before: nil, limit: 1000, in: partition, on: reactor)
    #expect(history.map { plain($0) } == all)
    let range = KeyRange(prefix: changes.prefix())
    let keys = try await engine.keys(in: range, after: nil, limit: 100, of: partition, on: reactor)
    let entries = model.entries(in: range, at: changes.now)
    #expect(
      keys.map { [$0.key.bytes, Array("\($0.version)".utf8)] }
        == entries.map { [$0.key.bytes, Array("\($0.version)".utf8)] })
    if let first = keys.first {
      let rest = try await engine.keys(in: range, after: first.key, limit: 1, of: partition, on: reactor)
      #expect(rest.map(\.key) == keys.dropFirst().prefix(1).map(\.key))
    }
    let since = Int64.random(in: 0...model.revision, using: &changes.random)
    let page = try await engine.events(in: range, since: since, of: partition, on: reactor)
    #expect(page.events.map { plain($0.version) } == model.events(in: range, since: since).map { plain($0.version) })
    #expect(page.through == model.revision && page.hasGap == (since < model.compacted))
    for revision in [model.revision + 1, .max] {
      #expect(try await engine.events(in: range, since: revision, of: partition, on: reactor).hasGap)
    }
    let versions = model.keys.values.reduce(0) { $0 + Int64($1.count) }
    #expect(try await engine.figures(of: partition, on: reactor).versions == versions)
  }

  @Test("a page of events or versions ends behind so many bytes, and the next one goes on there") func pages()
    async throws
  {
    try await Self.withDatabase("pages") { database, reactor in
      let engine = Self.engine(database, on: reactor)
      let value = [UInt8](repeating: 0x31, count: 400_000)
      for _ in 0..<7 {
        let step = Change.Step(StoreKey("a")!, .put(value, lifetime: nil))
        _ = try await engine.write([Change([step])], to: 0, on: reactor)
      }
      var (since, pages): (Int64, [Int]) = (0, [])
      while since < 7 {
        let page = try await engine.events(in: KeyRange(prefix: ""), since: since, of: 0, on: reactor)
        #expect(page.events.map(\.version.revision) == Array(since + 1...page.through))
        since = page.through
        pages.append(page.events.count)
      }
      #expect(pages == [3, 3, 1])
      let history = try await engine.history(StoreKey("a")!, before: nil, limit: 100, in: 0, on: reactor)
      #expect(history.map(\.version) == [7, 6, 5])
      engine.end(on: reactor)
    }
  }

  @Test("values end by PostgreSQL's clock, in a version of their own") func lifetimes() async throws {
    try await Self.withDatabase("lifetimes") { database, reactor in
      let engine = Self.engine(database, on: reactor)
      let store = Store(engine, partitionCount: 2, cacheEntriesMax: 10, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
      let step = Change.Step(StoreKey("a")!, .put([0x31], lifetime: .milliseconds(200)))
      _ = try await store.change(Change([step]), on: reactor)
      let partition = store.partition(of: StoreKey("a")!)
      let pause = Pause()
      store.watch([partition], pause, on: reactor)
      while store.revision(of: partition) < 2 { await pause.wait(until: .never, on: reactor) }
      // Another server puts one, and is gone before it ends: whoever watches hears of both.
      let other = Self.engine(database, on: reactor)
      _ = try await other.write([Change([step])], to: partition, on: reactor)
      other.end(on: reactor)
      while store.revision(of: partition) < 4 { await pause.wait(until: .never, on: reactor) }
      let page = try await store.events(in: KeyRange(prefix: ""), since: 0, of: partition, on: reactor)
      #expect(page.events.map(\.version.version) == [1, 2, 3, 4] && page.events.last?.version.value == nil)
      store.unwatch([partition], pause)
      await store.close(on: reactor)
      engine.end(on: reactor)
    }
  }

  @Test("two servers that both serve all keys are one store to their clients") func linearizability() async throws {
    try await Self.withDatabase("linearizability") { database, reactor in
      let engines = (0..<2).map { _ in Self.engine(database, on: reactor) }
      let stores = engines.map {
        Store($0, partitionCount: 2, cacheEntriesMax: 10, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
      }
      let record = Record()
      let clients = (0..<20).map { client in
        Task.immediate(executorPreference: reactor.queue) {
          var random = SeededRandom(seed: UInt64(client))
          for round in 0..<25 {
            let store = stores[Int.random(in: 0...1, using: &random)]
            try await record.act(client * 100 + round, store, &random, on: reactor)
          }
        }
      }
      for client in clients { try await client.value }
      for (key, history) in record.histories.enumerated() {
        #expect(history.isLinearizable, "key \(key)")
        #expect(history.acknowledged == Array(1...Int64(max(1, history.acknowledged.count))))
      }
      for (store, engine) in zip(stores, engines) {
        await store.close(on: reactor)
        engine.end(on: reactor)
      }
    }
  }

  @Test("where another server makes the changes, too, it is known how far those are") func othersRevisions()
    async throws
  {
    try await Self.withDatabase("others") { database, reactor in
      let engines = (0..<2).map { _ in Self.engine(database, on: reactor) }
      let stores = engines.map {
        Store($0, partitionCount: 1, cacheEntriesMax: 10, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
      }
      try await stores[1].open(0, on: reactor)
      let step = Change.Step(StoreKey("a")!, .put([0x31], lifetime: nil))
      for _ in 0..<3 { _ = try await stores[0].change(Change([step]), on: reactor) }
      try await stores[1].lookForNewest(in: 0, on: reactor)
      #expect(stores[1].revision(of: 0) == 3)
      #expect(try await !engines[1].tidy(0, on: reactor))
      for (store, engine) in zip(stores, engines) {
        await store.close(on: reactor)
        engine.end(on: reactor)
      }
    }
  }

  /// What clients did with ten keys.
  private final class Record {
    var histories = Array(repeating: KeyHistory(), count: 10)

    func act(
      _ number: Int, _ store: Store, _ random: inout SeededRandom, on reactor: isolated Reactor
    ) async throws {
      let index = Int.random(in: 0..<10, using: &random)
      let key = StoreKey("key \(index)")!
      let begin = MonotonicTime.current().nanoseconds
      func ended(_ call: KeyHistory.Call) {
        histories[index].add(call, from: begin, to: MonotonicTime.current().nanoseconds)
      }
      let choice = Int.random(in: 0..<4, using: &random)
      if choice < 2 {
        let found = try await store.newest(key, on: reactor)
        #expect(!found.isCached)
        guard case .found(let version) = found.lookup, let value = version.value else { return ended(.read(nil)) }
        return ended(.read(.init(version: version.version, value: Int(String(decoding: value, as: UTF8.self)))))
      }
      let wanted: Int64? = choice == 2 ? nil : Int64.random(in: 1...20, using: &random)
      let step = Change.Step(
        key, .put(Array("\(number)".utf8), lifetime: nil), if: Condition(match: wanted.map { .these([$0]) }))
      switch try await store.change(Change([step]), on: reactor) {
      case .done(let results, _): ended(.wrote(number, ifVersion: wanted, version: results[0].version))
      case .refused(_, let current): ended(.refused(ifVersion: wanted ?? 0, current: current?.version))
      default: Issue.record("neither done nor refused")
      }
    }
  }

  @Test("what is taken out of files and put into PostgreSQL is the same, and so it is on the way back")
  func moving() async throws {
    let files = TemporaryFolder()
    try await Self.withDatabase("moving") { database, reactor in
      let place = place(in: files)
      let (writer, reader) = try open(place, maxVersions: 5)
      var changes = RandomChanges(seed: 5)
      for _ in 0..<60 { _ = try writer.apply([changes.next()], at: changes.now) }
      var lines: [ArchiveLine] = []
      try reader.forEachLine { lines.append($0) }
      reader.close()
      writer.close()
      #expect(lines.count > 15)
      let keeper = try await PostgresKeeper.connect(
        database, partitions: 2, isWish: true, pool: pool, log: quiet, on: reactor)
      var rest = lines[...]
      let count = try await keeper.fill({ () throws(StoreError) in rest.popFirst() }, on: reactor)
      #expect(count == lines.count)
      var found: [ArchiveLine] = []
      try await keeper.forEachLine({ found.append($0) }, on: reactor)
      #expect(found.sorted { ($0.key, $0.version.version) < ($1.key, $1.version.version) } == lines)
      rest = lines[...]
      await #expect(throws: StoreError.self) {
        try await keeper.fill({ () throws(StoreError) in rest.popFirst() }, on: reactor)
      }
      keeper.close(on: reactor)
      let engine = Self.engine(database, on: reactor)
      let key = lines[0].key
      let step = Change.Step(key, .put([0x31], lifetime: nil))
      let partition = Placement.partition(of: key, of: 2)
      let (outcomes, _) = try await engine.write([Change([step])], to: partition, on: reactor)
      let last = lines.last { $0.key == key }?.version.version ?? 0
      #expect(Self.plain(outcomes[0]).contains(" \(last + 1) \(last) "))
      engine.end(on: reactor)
    }
  }

  @Test("cleaning takes what is past its use, counted before, while a server goes on putting") func cleaning()
    async throws
  {
    try await Self.withDatabase("kv_cleaning") { database, reactor in
      let engine = Self.engine(database, maxVersions: 10_000, on: reactor)
      let (kept, deleted) = (StoreKey("a")!, StoreKey("b")!)
      func put(_ key: StoreKey) async throws {
        let change = Change([Change.Step(key, .put([0x31, 0x32], lifetime: nil))])
        _ = try await engine.write([change], to: Placement.partition(of: key, of: 2), on: reactor)
      }
      for _ in 1...30 { for key in [kept, deleted] { try await put(key) } }
      _ = try await engine.write(
        [Change([Change.Step(deleted, .delete)])], to: Placement.partition(of: deleted, of: 2), on: reactor)
      let keeper = try await PostgresKeeper.connect(
        database, partitions: 2, isWish: true, pool: pool, log: quiet, on: reactor)
      let before = try await keeper.survey(maxVersions: 4, on: reactor)
      #expect(before.figures.keys == 1 && before.figures.versions == 61 && before.figures.fileBytes > 0)
      #expect(before.waste.versions == 26 + 30 && before.waste.bytes == 2 * (26 + 30))
      let writing = Task.immediate(executorPreference: reactor.queue) { for _ in 1...30 { try await put(kept) } }
      try await keeper.clean(maxVersions: 4, on: reactor)
      try await writing.value
      try await keeper.clean(maxVersions: 4, on: reactor)
      let after = try await keeper.survey(maxVersions: 4, on: reactor)
      #expect(after.waste.versions == 0 && after.figures.versions == 4 + 1)
      let partition = Placement.partition(of: kept, of: 2)
      let history = try await engine.history(kept, before: nil, limit: 100, in: partition, on: reactor)
      #expect(history.map(\.version) == [60, 59, 58, 57])
      let old = try await engine.lookUp(kept, version: 56, in: partition, on: reactor)
      #expect(old == .compacted(oldest: 57))
      // Who watches from before hears that something is not known any more.
      let range = KeyRange(prefix: "")
      #expect(try await engine.events(in: range, since: 1, of: partition, on: reactor).hasGap)
      let newest = history[0].revision
      #expect(try await !engine.events(in: range, since: newest, of: partition, on: reactor).hasGap)
      keeper.close(on: reactor)
      engine.end(on: reactor)
    }
  }

  @Test("a store keeps its partitions, and without its tables or PostgreSQL it fails and says nothing of keys")
  func failing() async throws {
    try await Self.withDatabase("failing") { database, reactor in
      let kept = try await StoreSchema.partitions(
        database, wished: 8, isWish: false, pool: pool, log: quiet, on: reactor)
      #expect(kept == 2)
      await #expect(throws: StoreError.self) {
        try await StoreSchema.partitions(database, wished: 8, isWish: true, pool: pool, log: quiet, on: reactor)
      }
      let engine = Self.engine(Self.configuration("postgres"), on: reactor)
      let error = await #expect(throws: StoreError.self) {
        try await engine.lookUp(StoreKey("a")!, version: nil, in: 0, on: reactor)
      }
      if case .unavailable? = error {} else { Issue.record("\(String(describing: error))") }
      engine.end(on: reactor)
    }
  }
}
