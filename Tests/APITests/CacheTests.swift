import Basics
import Caching
import DataItems
import HTTP
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing

@testable import API

extension APITests {
  @Suite("The cache as a service, and what outlives its time", .timeLimit(.minutes(5))) struct CacheTests {
    /// Asks until the answer has `part`, and returns it.
    private static func untilHas(
      _ part: String, _ user: DataUser, _ target: String, on reactor: isolated Reactor
    ) async throws -> HTTPClientResponse {
      while true {
        let answer = try await user.get(target, on: reactor)
        if answer.text.contains(part) { return answer }
        try Task.checkCancellation()
      }
    }

    @Test("what is put is found in the nearest level, has an end, and goes when it is told to") func entries()
      async throws
    {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_entries", redis: redis, on: reactor)
        #expect(try await user.get("/cache/a", on: reactor).status == 404)
        let put = try await user.send(.put, "/cache/a", #"{"value":{"x":[1,2]},"ttl":60,"level":"all"}"#, on: reactor)
        #expect(put.text == #"{"status":"Value cached","key":"a","ttl":60,"level":"all"}"#)
        let got = try await user.get("/cache/a", on: reactor)
        #expect(got.text == #"{"value":{"x":[1,2]},"level":"L1","hit":true}"#)
        #expect(got.field("cache-status")?.wholeMatch(of: /millrace; hit; ttl=[56]\d; detail=L1/) != nil)
        // It is nobody's value but its own.
        #expect(try await user.get("/data?key=a", on: reactor).status == 404)
        let client = try #require(user.api.service.redis)
        var copy: (value: [UInt8], lifetimeMs: Int64)?
        while copy == nil { copy = try await client.getWithLifetime(Array("millrace:cache:a".utf8), on: reactor) }
        #expect(1...60_000 ~= copy?.lifetimeMs ?? 0)
        let text = String(decoding: try #require(copy).value, as: UTF8.self)
        #expect(text.hasPrefix(#"{"data":{"x":[1,2]},"loaded_at":"#))
        // Each level in its turn, when those before have it no more.
        user.api.service.data.forgetAll()
        for level in ["L2", "L1"] {
          #expect(try await user.get("/cache/a", on: reactor).text.contains(level))
        }
        user.api.service.data.forgetAll()
        _ = try await client.removeAll(prefix: Array("millrace:cache:".utf8), on: reactor)
        #expect(try await user.get("/cache/a", on: reactor).text.contains("L3"))
        _ = try await Self.untilHas("L1", user, "/cache/a", on: reactor)
        #expect(try await user.api.send(.delete, "/cache/a", fields: [user.token], on: reactor).status == 200)
        #expect(try await user.get("/cache/a", on: reactor).status == 404)
        for (body, status) in [
          ("{}", 422), (#"{"value":1,"ttl":0}"#, 422), (#"{"value":1,"ttl":3601}"#, 422),
          (#"{"value":1,"level":"L4"}"#, 422), ("1", 422), ("{", 400),
        ] {
          #expect(try await user.send(.put, "/cache/a", body, on: reactor).status == status, "\(body)")
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("what is put into one level alone is there alone, and stays", arguments: ["L1", "L2", "L3"])
    func oneLevel(level: String) async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_\(level.lowercased())", redis: redis, on: reactor)
        for round in 1...3 {
          let body = #"{"value":\#(round),"level":"\#(level)"}"#
          #expect(try await user.send(.put, "/cache/k", body, on: reactor).status == 200)
          let answer = try await Self.untilHas(#""value":\#(round),"#, user, "/cache/k?level=\(level)", on: reactor)
          #expect(answer.text == #"{"value":\#(round),"level":"\#(level)","hit":true}"#)
          for other in ["L1", "L2", "L3"] where other != level {
            #expect(try await user.get("/cache/k?level=\(other)", on: reactor).status == 404, "\(other)")
          }
          // Its own change is told to itself, too. What is heard by now was told before.
          let told = reactor.now
          while try #require(user.api.service.data.coherence.provenAt) < told {
            _ = try await user.get("/data?key=1", on: reactor)
          }
          #expect(try await user.get("/cache/k?level=\(level)", on: reactor).status == 200)
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("what another process puts is the entry of all within a second") func others() async throws {
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_others", on: reactor)
        _ = try await user.send(.put, "/cache/k", #"{"value":"ours"}"#, on: reactor)
        let (store, pool) = try await user.otherStore(on: reactor)
        for round in 0..<20 {
          #expect(try await user.get("/cache/k", on: reactor).status == 200)
          if round % 2 == 0 {
            _ = try await store.putEntry("k", Array("\(round)".utf8), for: .seconds(60 as UInt64), on: reactor)
            let toldAt = reactor.now
            _ = try await Self.untilHas(#""value":\#(round),"#, user, "/cache/k", on: reactor)
            #expect(reactor.now.since(toldAt) <= .seconds(1 as UInt64))
          } else {
            try await store.forget("k", on: reactor)
            let toldAt = reactor.now
            while try await user.get("/cache/k", on: reactor).status != 404 {}
            #expect(reactor.now.since(toldAt) <= .seconds(1 as UInt64))
            _ = try await store.putEntry("k", Array("\(round)".utf8), for: .seconds(60 as UInt64), on: reactor)
            _ = try await Self.untilHas(#""value":\#(round),"#, user, "/cache/k", on: reactor)
          }
        }
        store.close(on: reactor)
        _ = pool
        await user.api.stop(on: reactor)
      }
    }

    @Test("an entry whose successor was heard of before its own answer came is not kept") func successor() async throws
    {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_successor", redis: redis, on: reactor)
        let data = user.api.service.data
        for (number, isKept) in [true, false, false, false, false].enumerated() {
          let key = DataKey(.entry, "\(number)")
          // By now all is heard.
          _ = try await user.get("/cache/\(number)", on: reactor)
          for sql in ["begin", "lock table millrace.data_entry in access exclusive mode"] {
            try await user.run(sql, on: reactor)
          }
          let put = Task.immediate(executorPreference: reactor.queue) {
            try await data.putEntry(key.text, Array("1".utf8), for: .seconds(60 as UInt64), in: .l1, on: reactor)
          }
          while try await !user.isAnybodyLocked(on: reactor) {}
          switch number {
          case 1: data.heard(.value(key: key, version: .max), on: reactor)
          case 2: data.heard(.invalidated(key: key.text, since: .max), on: reactor)
          case 3: data.heard(.allInvalidated(since: .max), on: reactor)
          case 4: data.feedBegan(on: reactor)
          default: break
          }
          try await user.run("commit", on: reactor)
          try await put.value
          #expect((data.memory.value(for: key, at: reactor.now)?.value.value != nil) == isKept, "\(number)")
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("who is one too many to wait for an entry is answered with no value of another kind") func tooMany()
      async throws
    {
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_too_many", on: reactor)
        _ = try await user.send(.put, "/data/k", #"{"value":"an item"}"#, on: reactor)
        let data = user.api.service.data
        data.flights = SingleFlight(waitersMax: 0)
        let askers = (0..<3).map { _ in
          Task.immediate(executorPreference: reactor.queue) {
            try await data.value(DataQuery(key: DataKey(.entry, "k")), on: reactor).value == nil
          }
        }
        for asker in askers { #expect(try await asker.value) }
        await user.api.stop(on: reactor)
      }
    }

    @Test("a value whose time is over is answered while it is loaded, but not one that was changed") func stale()
      async throws
    {
      var times = LevelTimes()
      // Whatever is loaded is past its time at once.
      (times.l1, times.l3) = (.milliseconds(0), .milliseconds(0))
      let lifetimes = times
      try await onReactor { reactor in
        let user = try await DataUser.start(
          "cache_stale", delay: .milliseconds(300), times: lifetimes, on: reactor)
        _ = try await user.get("/data?key=1", on: reactor)
        let loads = try await user.figure("millrace_data_loads_total", on: reactor) ?? 0
        let answer = try await user.get("/data?key=1", on: reactor)
        #expect(answer.text.hasPrefix(#"{"cached":true,"cache_level":"L1","stale":true,"data":{"#), "\(answer.text)")
        #expect(answer.field("cache-status")?.wholeMatch(of: /millrace; hit; ttl=-?\d+; detail=L1/) != nil)
        // Somebody loads it, and nobody waits.
        while try await user.figure("millrace_data_loads_total", on: reactor) == loads {}
        let statistics = try await user.get("/cache/stats", on: reactor).text
        let stale = try #require(statistics.firstMatch(of: /"stale":(\d+)/).flatMap { Int($0.output.1) })
        #expect(stale >= 1)
        #expect(statistics.hasPrefix(#"{"hits":0,"#), "\(statistics)")
        // Whatever its time, what is told to be forgotten is not answered again.
        _ = try await user.send(.post, "/cache/invalidate", #"{"key":"1"}"#, on: reactor)
        #expect(try await user.get("/data?key=1", on: reactor).text.hasPrefix(#"{"cached":false,"#))
        // And a time that a client has asked for is kept to.
        _ = try await user.get("/data?key=2&cache_ttl=1", on: reactor)
        #expect(try await user.get("/data?key=2", on: reactor).text.hasPrefix(#"{"cached":false,"#))
        await user.api.stop(on: reactor)
      }
    }

    @Test("a value that cannot be loaded is answered past its time where it is known to be true, or is wished for")
    func failing() async throws {
      var times = LevelTimes()
      (times.l1, times.l3, times.staleWhileLoaded) = (.milliseconds(0), .milliseconds(0), .milliseconds(0))
      let lifetimes = times
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_failing", times: lifetimes, on: reactor)
        _ = try await user.get("/data?key=1", on: reactor)
        // The table is not to be read, but changes would be heard of.
        for sql in ["begin", "lock table millrace.data_items, millrace.data_cache in access exclusive mode"] {
          try await user.run(sql, on: reactor)
        }
        let kept = try await user.get("/data?key=1", on: reactor)
        #expect(kept.status == 200 && kept.text.contains(#""stale":true"#), "\(kept.text)")
        #expect(try await user.get("/data?key=2", on: reactor).status == 503)
        try await user.run("commit", on: reactor)
        // Nobody comes to the database any more, and nobody knows what changes there.
        try await user.closeDatabase(on: reactor)
        repeat {
          try Task.checkCancellation()
          try await user.clearDatabase(on: reactor)
        } while try await user.get("/data?key=1", on: reactor).status != 503
        let wish = [(name: "Cache-Control", value: "no-transform, stale-if-error=60")]
        let wished = try await user.get("/data?key=1", wish, on: reactor)
        #expect(wished.status == 200 && wished.text.contains(#""stale":true"#), "\(wished.text)")
        let less = [(name: "Cache-Control", value: "stale-if-error=0")]
        #expect(try await user.get("/data?key=1", less, on: reactor).status == 503)
        await user.api.stop(on: reactor)
      }
    }

    @Test("a value that takes long to load is loaded before its end, so that nobody waits for it") func early()
      async throws
    {
      var times = LevelTimes()
      (times.l1, times.l3) = (.milliseconds(400), .milliseconds(400))
      (times.staleWhileLoaded, times.staleIfFailed) = (.milliseconds(0), .milliseconds(0))
      let lifetimes = times
      try await onReactor { reactor in
        let user = try await DataUser.start("cache_early", delay: .milliseconds(100), times: lifetimes, on: reactor)
        // In memory alone: a copy elsewhere that lasts longer would do.
        while try await user.figure("millrace_data_early_refreshes_total", on: reactor) == 0 {
          _ = try await user.get("/data?key=1&cache_level=L1", on: reactor)
          try Task.checkCancellation()
        }
        // Nobody asks any more, and it is loaded all the same.
        while try await user.figure("millrace_data_loads_total", on: reactor) ?? 0 < 2 { try Task.checkCancellation() }
        await user.api.stop(on: reactor)
      }
    }
  }
}
