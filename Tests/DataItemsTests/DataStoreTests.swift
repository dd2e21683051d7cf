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

@Suite("The tables of values", .serialized, .timeLimit(.minutes(5))) struct DataStoreTests {
  /// A store over tables of its own, and a connection to look into them.
  private static func start(
    _ name: String, on reactor: isolated Reactor
  ) async throws -> (store: DataStore, inspector: PostgresConnection, configuration: PostgresConfiguration) {
    var configuration = PostgresConfiguration()
    configuration.hosts = [server.directory]
    configuration.database = "postgres"
    let helpers = PostgresConnection.Helpers(pool: pool)
    let admin = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
    _ = try await admin.execute(PostgresStatement("create", "create database \(name)"), on: reactor)
    admin.close(on: reactor)
    configuration.database = name
    _ = try await DataSchema.migrate(configuration, pool: pool, log: quiet, on: reactor)
    let store = DataStore(configuration, pool: pool, log: quiet, metrics: Metrics())
    store.start(on: reactor)
    let inspector = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
    return (store, inspector, configuration)
  }

  private static func end(_ store: DataStore, _ inspector: PostgresConnection, on reactor: isolated Reactor) {
    store.close(on: reactor)
    inspector.close(on: reactor)
  }

  private static func text(_ bytes: [UInt8]?) -> String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

  @Test("the tables are made once, beside whatever other tables there are, and hold what people begin with")
  func tables() async throws {
    try await onReactor { reactor in
      let (store, inspector, configuration) = try await Self.start("tables", on: reactor)
      #expect(try await DataSchema.migrate(configuration, pool: pool, log: quiet, on: reactor) == [])
      for key in ["1", "2", "3", "default", "my_data"] { #expect(try await store.item(key, on: reactor) != nil) }
      #expect(try await store.item("4", on: reactor) == nil)
      let ledgers = PostgresStatement("ledgers", "select to_regclass('millrace.migration') is null")
      #expect(try await inspector.execute(ledgers, on: reactor).bool(0, 0))
      Self.end(store, inspector, on: reactor)
    }
  }

  @Test("a value comes back as it was put, and each change has a larger version, also one by hand")
  func putting() async throws {
    try await onReactor { reactor in
      let (store, inspector, _) = try await Self.start("putting", on: reactor)
      let value = #"{"b": 1.50, "a":"\u00e4 \u0000", "a":null}"#
      try await store.put("new", Array(value.utf8), on: reactor)
      let first = try #require(try await store.item("new", on: reactor))
      #expect(Self.text(first.value) == value)
      try await store.put("new", Array("2".utf8), on: reactor)
      let second = try #require(try await store.item("new", on: reactor))
      #expect(Self.text(second.value) == "2" && second.version > first.version)
      let byHand = PostgresStatement("by_hand", "update millrace.data_items set value = '3' where key = 'new'")
      _ = try await inspector.execute(byHand, on: reactor)
      let third = try #require(try await store.item("new", on: reactor))
      #expect(Self.text(third.value) == "3" && third.version > second.version)
      Self.end(store, inspector, on: reactor)
    }
  }

  @Test("what is kept has an age and an end, and goes with a change, an order, or its time") func keeping()
    async throws
  {
    try await onReactor { reactor in
      let (store, inspector, _) = try await Self.start("keeping", on: reactor)
      let minute = TimeSpan.seconds(60 as UInt64)
      func keep(_ key: String, for lifetime: TimeSpan = minute) async throws -> Bool {
        let version = try #require(try await store.item(key, on: reactor)).version
        return try await store.keep(
          key, version: version, age: .seconds(5 as UInt64), for: lifetime, on: reactor)
      }
      #expect(try await store.kept("1", on: reactor) == nil)
      #expect(try await keep("1"))
      let kept = try #require(try await store.kept("1", on: reactor))
      #expect(Self.text(kept.value) == #"{"id":1,"name":"first item"}"#)
      #expect(5...10 ~= kept.age.seconds && 50...60 ~= kept.remaining.seconds, "\(kept)")
      try await store.put("1", Array("7".utf8), on: reactor)
      #expect(try await store.kept("1", on: reactor) == nil)
      #expect(try await keep("2"))
      try await store.forget("2", on: reactor)
      #expect(try await store.kept("2", on: reactor) == nil)
      for key in ["a_1", "ab2", "b"] {
        try await store.put(key, Array("1".utf8), on: reactor)
        #expect(try await keep(key))
      }
      // An underscore is no wildcard.
      try await store.forgetAll(prefix: "a_", on: reactor)
      #expect(try await store.kept("a_1", on: reactor) == nil)
      #expect(try await store.kept("ab2", on: reactor) != nil)
      #expect(try await keep("3", for: .milliseconds(0)))
      #expect(try await store.kept("3", on: reactor) == nil)
      #expect(try await store.prune(on: reactor) == 1)
      try await store.forgetAll(prefix: "", on: reactor)
      let left = PostgresStatement("left", "select count(*) from millrace.data_cache")
      #expect(try await inspector.execute(left, on: reactor).int64(0, 0) == 0)
      Self.end(store, inspector, on: reactor)
    }
  }

  @Test("a value that was read before a change is not kept after it, whichever of the two is first")
  func overtaking() async throws {
    try await onReactor { reactor in
      let (store, inspector, _) = try await Self.start("overtaking", on: reactor)
      let other = DataStore(
        {
          var configuration = PostgresConfiguration()
          (configuration.hosts, configuration.database) = ([server.directory], "overtaking")
          return configuration
        }(), pool: pool, log: quiet, metrics: Metrics())
      other.start(on: reactor)
      for round in 0..<200 {
        let read = try #require(try await store.item("1", on: reactor))
        let change = Task.immediate(executorPreference: reactor.queue) {
          try await other.put("1", Array("\(round)".utf8), on: reactor)
        }
        // Now and then a moment later, so that each of the two comes first.
        if round % 3 > 0 { await reactor.sleep(for: .milliseconds(UInt64(round % 3))) }
        try await store.keep(
          "1", version: read.version, age: .milliseconds(0), for: .seconds(60 as UInt64), on: reactor)
        try await change.value
        #expect(try await store.kept("1", on: reactor) == nil, "round \(round)")
      }
      other.close(on: reactor)
      Self.end(store, inspector, on: reactor)
    }
  }

  @Test("without its tables, or without PostgreSQL, it says that trying again may help") func failing() async throws {
    try await onReactor { reactor in
      var configuration = PostgresConfiguration()
      configuration.hosts = [server.directory]
      configuration.database = "postgres"
      let store = DataStore(configuration, pool: pool, log: quiet, metrics: Metrics())
      store.start(on: reactor)
      let error = await #expect(throws: DataError.self) { try await store.item("1", on: reactor) }
      #expect(error?.isTransient == true && error?.isUnknown == false)
      store.close(on: reactor)
    }
  }

  @Test("whoever has rights on the values alone can change them, and all of it is heard of") func rights() async throws
  {
    try await onReactor { reactor in
      let (store, inspector, _) = try await Self.start("rights", on: reactor)
      for sql in [
        "create role clerk", "grant usage on schema millrace to clerk",
        "grant select, insert, update, delete on millrace.data_items to clerk", "set role clerk",
      ] {
        _ = try await inspector.execute(PostgresStatement("rights_\(sql.hashValue)", sql), on: reactor)
      }
      let before = try #require(try await store.item("1", on: reactor)).version
      for sql in [
        "insert into millrace.data_items (key, value) values ('9', '9')",
        "update millrace.data_items set value = '8' where key = '1'", "delete from millrace.data_items where key = '2'",
      ] {
        _ = try await inspector.execute(PostgresStatement("clerk_\(sql.hashValue)", sql), on: reactor)
      }
      #expect(try #require(try await store.item("1", on: reactor)).version > before)
      #expect(try #require(try await store.item("9", on: reactor)).version > before)
      #expect(try await store.item("2", on: reactor) == nil)
      Self.end(store, inspector, on: reactor)
    }
  }
}
