import Basics
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import DataItems

private let server = try! TestServer.postgres()
private let pool = try! ComputePool(width: 2)
private let quiet = Logger(sink: LogSink(fd: 2), subsystem: "test", level: .error)

/// Writes down what a feed tells.
private final class Ear: DataFeedReceiver {
  var beginnings = 0
  var ends = 0
  var changes: [DataChange] = []
  var proofs: [(time: MonotonicTime, clock: Int64)] = []

  func feedBegan(on reactor: isolated Reactor) { beginnings += 1 }
  func feedEnded(on reactor: isolated Reactor) { ends += 1 }
  func heard(_ change: DataChange, on reactor: isolated Reactor) { changes.append(change) }
  func proved(at time: MonotonicTime, clock: Int64, on reactor: isolated Reactor) { proofs.append((time, clock)) }
}

@Suite("Hearing of changes of values", .serialized, .timeLimit(.minutes(5))) struct DataFeedTests {
  private static func start(
    _ name: String, on reactor: isolated Reactor
  ) async throws -> (feed: DataFeed, ear: Ear, store: DataStore, inspector: PostgresConnection) {
    var configuration = PostgresConfiguration()
    (configuration.hosts, configuration.database) = ([server.directory], "postgres")
    configuration.baseBackoffSeconds = 0.02
    let helpers = PostgresConnection.Helpers(pool: pool)
    let admin = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.database = name
    let (feed, ear) = (DataFeed(configuration, pool: pool, log: quiet, metrics: Metrics()), Ear())
    feed.start(ear, on: reactor)
    // It waits for its tables.
    _ = try await DataSchema.migrate(configuration, pool: pool, log: quiet, on: reactor)
    while ear.proofs.isEmpty { await reactor.sleep(for: .milliseconds(1)) }
    let store = DataStore(configuration, pool: pool, log: quiet, metrics: Metrics())
    store.start(on: reactor)
    return (feed, ear, store, try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor))
  }

  /// Another process's way to the same tables.
  private static func otherStore(_ name: String, on reactor: isolated Reactor) -> DataStore {
    var configuration = PostgresConfiguration()
    (configuration.hosts, configuration.database) = ([server.directory], name)
    let store = DataStore(configuration, pool: pool, log: quiet, metrics: Metrics())
    store.start(on: reactor)
    return store
  }

  private static func run(_ sql: String, _ connection: PostgresConnection, on reactor: isolated Reactor) async throws {
    _ = try await connection.execute(PostgresStatement(sql, sql), on: reactor)
  }

  @Test("whatever is committed before a proof is asked for has been heard when it is there, whoever has done it")
  func proving() async throws {
    try await onReactor { reactor in
      let (feed, ear, store, inspector) = try await Self.start("feed_proving", on: reactor)
      #expect(ear.beginnings == 1 && ear.changes.isEmpty)
      var version: Int64 = 0
      for round in 0..<200 {
        let key = "a key \(round)"
        try await store.put(key, Array("\(round)".utf8), on: reactor)
        await feed.prove(until: reactor.now + .seconds(20 as UInt64), on: reactor)
        guard case .value(DataKey(.item, key), let next)? = ear.changes.last else { throw Missing(key: key) }
        #expect(next > version)
        version = next
      }
      ear.changes.removeAll()
      let tooLong = String(repeating: "k", count: Limits.keyBytesMax + 1)
      for sql in [
        "update millrace.data_items set value = '1' where key = '1'", "delete from millrace.data_items where key = '2'",
        "insert into millrace.data_items (key, value) values ('4', '4'), ('\(tooLong)', '5')",
        "begin; update millrace.data_items set value = '2'; rollback",
        "update millrace.data_items set key = 'three' where key = '3'",
      ] {
        for part in sql.split(separator: ";") { try await Self.run(String(part), inspector, on: reactor) }
      }
      try await store.forget("5", on: reactor)
      try await store.forgetAll(prefix: "x", on: reactor)
      try await Self.run("truncate millrace.data_items", inspector, on: reactor)
      try await Self.run("notify millrace_data, 'v7'", inspector, on: reactor)
      await feed.prove(until: reactor.now + .seconds(20 as UInt64), on: reactor)
      let said = ear.changes.map { change in
        switch change {
        case .value(let key, _): "changed \(key.text)"
        case .invalidated(let key, _): "invalidated \(key)"
        case .allInvalidated: "all"
        }
      }
      #expect(
        said == [
          "changed 1", "changed 2", "changed 4", "changed three", "changed 3", "invalidated 5", "all", "all",
        ])
      // Nobody knows when a transaction will be over.
      #expect(ear.changes.last == .allInvalidated(since: .max))
      // What is read after an order has a later time than the order.
      guard case .invalidated(_, let since) = ear.changes[5] else { throw Missing(key: "5") }
      try await store.put("5", Array("5".utf8), on: reactor)
      let item = try #require(try await store.item("5", on: reactor))
      #expect(item.stamp > since && item.version > version && (ear.proofs.last?.clock ?? 0) > since)
      Self.end(feed, store, inspector, on: reactor)
    }
  }

  @Test("who is cut off says so, and comes back; many who ask for a proof share one") func breaking() async throws {
    try await onReactor { reactor in
      let (feed, ear, store, inspector) = try await Self.start("feed_breaking", on: reactor)
      let others = "datname = current_database() and pid <> pg_backend_pid()"
      for round in 1...3 {
        try await Self.run(
          "select pg_terminate_backend(pid) from pg_stat_activity where \(others)", inspector, on: reactor)
        while ear.beginnings == round || ear.proofs.count == round { await reactor.sleep(for: .milliseconds(1)) }
        #expect(ear.ends == round && ear.beginnings == round + 1)
      }
      let before = ear.proofs.count
      let askers = (0..<100).map { _ in
        Task.immediate(executorPreference: reactor.queue) {
          await feed.prove(until: reactor.now + .seconds(20 as UInt64), on: reactor)
        }
      }
      for asker in askers { await asker.value }
      #expect(ear.proofs.count == before + 1)
      Self.end(feed, store, inspector, on: reactor)
      // Nobody is kept waiting by one that is closed.
      await feed.prove(until: .never, on: reactor)
      #expect(ear.proofs.count == before + 1)
    }
  }

  @Test("an order to forget is later than whatever was read before it was carried out") func forgetting() async throws {
    try await onReactor { reactor in
      let (feed, ear, store, inspector) = try await Self.start("feed_forgetting", on: reactor)
      for prefix in [nil, "k"] as [String?] {
        _ = try await store.putEntry("k", Array("1".utf8), for: .seconds(60 as UInt64), on: reactor)
        // Somebody else has the row, and the order waits for that.
        for sql in ["begin", "select 1 from millrace.data_entry for update"] {
          try await Self.run(sql, inspector, on: reactor)
        }
        let order = Task.immediate(executorPreference: reactor.queue) {
          guard let prefix else { return try await store.forget("k", on: reactor) }
          try await store.forgetAll(prefix: prefix, on: reactor)
        }
        let reader = Self.otherStore("feed_forgetting", on: reactor)
        while try await inspector.execute(PostgresStatement("waiting", lockWaiters), on: reactor).int64(0, 0) == 0 {}
        let read = try #require(try await reader.entry("k", on: reactor))
        try await Self.run("commit", inspector, on: reactor)
        try await order.value
        #expect(try await reader.entry("k", on: reactor) == nil)
        await feed.prove(until: reactor.now + .seconds(20 as UInt64), on: reactor)
        switch ear.changes.last {
        case .invalidated("k", let since), .allInvalidated(let since): #expect(since > read.stamp)
        default: throw Missing(key: "k")
        }
        reader.close(on: reactor)
      }
      Self.end(feed, store, inspector, on: reactor)
    }
  }

  @Test("what is no change is none") func reading() {
    #expect(DataChange("v7 a b") == .value(key: DataKey(.item, "a b"), version: 7))
    #expect(DataChange("e7 a b") == .value(key: DataKey(.entry, "a b"), version: 7))
    #expect(DataChange("i7 ") == .invalidated(key: "", since: 7))
    #expect(DataChange("a7") == .allInvalidated(since: 7))
    for text in ["", "v", "v7", "vx a", "a7 b", "x7 a", "i 7", "é7 a"] { #expect(DataChange(text) == nil, "\(text)") }
  }

  private struct Missing: Error {
    let key: String
  }

  private static func end(
    _ feed: DataFeed, _ store: DataStore, _ inspector: PostgresConnection, on reactor: isolated Reactor
  ) {
    feed.close(on: reactor)
    store.close(on: reactor)
    inspector.close(on: reactor)
  }
}
