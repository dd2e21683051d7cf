import Basics
import Reactor
import TestSupport
import Testing

@testable import VersionedStore

@Suite("News of a store", .timeLimit(.minutes(5))) struct NewsTests {
  @Test("all who have seen as much of the same keys are told of what one of them has read") func shared() async throws {
    try await onReactor { reactor in
      let engine = FakeEngine(seed: 0)
      let store = Store(
        engine, partitionCount: 1, cacheEntriesMax: 9, cacheBytesMax: 1 << 20, metrics: sharedMetrics)
      func put() async throws(StoreError) {
        let step = Change.Step(StoreKey("a")!, .put([0x31], lifetime: nil))
        _ = try await store.change(Change([step]), on: reactor)
      }
      func revisions(_ prefix: String, since: Int64) async throws(StoreError) -> [Int64] {
        let range = KeyRange(prefix: prefix)
        return try await store.events(in: range, since: since, of: 0, on: reactor).events.map(\.version.revision)
      }
      try await put()
      engine.hold()
      let looks = (0..<100).map { number in
        Task.immediate(executorPreference: reactor.queue) {
          let told = try await revisions(number == 99 ? "a" : "", since: 0)
          #expect(told == [1])
        }
      }
      engine.release()
      for look in looks { try await look.value }
      #expect(engine.looksForNews == 2)
      // Whoever is late hears the same, and what came since then behind it.
      try await put()
      let pause = Pause()
      store.watch([0], pause, on: reactor)
      #expect(try await revisions("a", since: 0).first == 1)
      #expect(try await revisions("a", since: 1) == [2])
      #expect(try await revisions("a", since: 2) == [])
      // What is not kept: a look that has failed, and what was known when the partition went.
      engine.failure = .busy
      await #expect(throws: StoreError.busy) { try await revisions("a", since: 3) }
      engine.failure = nil
      #expect(try await revisions("", since: 0) == [1, 2])
      let looked = engine.looksForNews
      #expect(try await revisions("", since: 0) == [1, 2])
      #expect(engine.looksForNews == looked)
      _ = await store.leave(0, unusedFor: .milliseconds(0), on: reactor)
      #expect(try await revisions("", since: 0) == [1, 2])
      #expect(engine.looksForNews == looked + 1)
      store.unwatch([0], pause)
      await store.close(on: reactor)
    }
  }
}
