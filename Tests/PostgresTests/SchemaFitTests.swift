import Basics
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import Postgres

extension PostgresTests {
  private static func client(
    _ configuration: PostgresConfiguration, knowing steps: Int, on reactor: isolated Reactor
  ) -> PostgresClient {
    var configuration = configuration
    configuration.schemaSteps = steps
    let client = PostgresClient(configuration, helpers: helpers, log: quiet, metrics: Metrics())
    client.start(on: reactor)
    return client
  }

  private static func isUsable(_ client: PostgresClient, on reactor: isolated Reactor) async -> Bool {
    (try? await client.execute(statement("select 1"), on: reactor)) != nil
  }

  @Test func `a program works on tables of its step and of later ones, until one leaves it behind`() {
    #expect(SchemaFit.judge(step: 3, oldestProgram: 0, known: 4) == .tooOld(step: 3))
    #expect(SchemaFit.judge(step: 4, oldestProgram: 0, known: 4) == .fits)
    #expect(SchemaFit.judge(step: 9, oldestProgram: 4, known: 4) == .fits)
    #expect(SchemaFit.judge(step: 9, oldestProgram: 5, known: 4) == .tooNew(steps: 5))
  }

  @Test func `a server that is too old gets a sentence`() {
    #expect(PostgresConnection.complaint(ofServer: 140_009) == "this is PostgreSQL 14, and 15 or later is needed")
    #expect(PostgresConnection.complaint(ofServer: 150_014) == nil)
  }

  @Test func `a client waits until the tables fit, and says for what`() async throws {
    let configuration = configuration(Self.server)
    try await onReactor { reactor in
      let admin = try await PostgresConnection.connect(configuration, helpers: helpers, on: reactor)
      _ = try await admin.execute(statement("create database fitting"), on: reactor)
      admin.close(on: reactor)
      var own = configuration
      own.database = "fitting"
      let inspector = try await PostgresConnection.connect(own, helpers: helpers, on: reactor)
      let steps = [
        Migration(1, "make", ["create table millrace.t (a int)"]),
        Migration(2, "more", ["alter table millrace.t add b int"]),
        Migration(3, "leave the first program behind", oldestProgram: 2, ["alter table millrace.t drop a"]),
      ]
      let backend = statement("select pg_backend_pid()")
      // No tables at all, then those of a step before.
      let second = Self.client(own, knowing: 2, on: reactor)
      #expect(await !Self.isUsable(second, on: reactor) && second.refusal?.code == .unfitSchema(isNewer: false))
      _ = try await Migrator([steps[0]], log: quiet).run(on: inspector, on: reactor)
      let first = Self.client(own, knowing: 1, on: reactor)
      #expect(await Self.isUsable(first, on: reactor))
      #expect(second.refusal?.isOfSchema == true)
      _ = try await Migrator(Array(steps[..<2]), log: quiet).run(on: inspector, on: reactor)
      // It looks every half second, and a caller waits for longer than that.
      #expect(await Self.isUsable(second, on: reactor) && second.refusal == nil)
      // The session that it has is ended: it would go on with it.
      let session = try await second.execute(backend, on: reactor).int32(0, 0)
      #expect(await Self.isUsable(first, on: reactor))
      _ = try await Migrator(steps, log: quiet).run(on: inspector, on: reactor)
      #expect(await !Self.isUsable(first, on: reactor))
      // What it has heard of so far may be the end of its session alone.
      #expect(await !Self.isUsable(first, on: reactor) && first.refusal?.code == .unfitSchema(isNewer: true))
      first.close(on: reactor)
      let late = Self.client(own, knowing: 1, on: reactor)
      #expect(await !Self.isUsable(late, on: reactor) && late.refusal?.code == .unfitSchema(isNewer: true))
      // One that fits keeps the session that it has.
      #expect(try await second.execute(backend, on: reactor).int32(0, 0) == session)
      // Tables that were made before programs were counted fit everybody.
      _ = try await inspector.execute(
        statement("alter table millrace.migration drop column oldest_program"), on: reactor)
      #expect(await Self.isUsable(late, on: reactor))
      for client in [second, late] { client.close(on: reactor) }
      inspector.close(on: reactor)
    }
  }
}
