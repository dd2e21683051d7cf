import Basics
import Caching
import DataItems
import Glibc
import HTTP
import HTTPSyntax
import Postgres
import Reactor
import Telemetry
import TestSupport
import Testing
import Tokens

@testable import API

// One after the other with all others, which wait for answers that a busy machine would delay.
extension APITests {
  @Suite("Values and their cache", .timeLimit(.minutes(5))) struct DataTests {
    @Test("the first answer is loaded, the second comes from memory and says so, and one that is known is not sent")
    func hits() async throws {
      try await onReactor { reactor in
        let user = try await DataUser.start("data_hits", on: reactor)
        let first = try await user.get("/data?key=1", on: reactor)
        let item = #"{"id":1,"name":"first item"}"#
        #expect(first.status == 200)
        #expect(first.text == #"{"cached":false,"data":\#(item),"gateway_id":"api-1","cache_ttl":300}"#)
        #expect(first.field("cache-status") == "millrace; fwd=uri-miss; stored" && first.field("age") == nil)
        let second = try await user.get("/data?key=1", on: reactor)
        #expect(second.text == #"{"cached":true,"cache_level":"L1","data":\#(item),"gateway_id":"api-1"}"#)
        #expect(second.field("cache-status")?.wholeMatch(of: /millrace; hit; ttl=5\d; detail=L1/) != nil)
        #expect(second.field("age") == "0")
        let tag = try #require(second.field("etag"))
        #expect(tag.hasPrefix("W/\"") && first.field("etag") == tag)
        for known in [tag, String(tag.dropFirst(2)), "\"other\", \(tag)", "*"] {
          let answer = try await user.get("/data?key=1", [("If-None-Match", known)], on: reactor)
          #expect(answer.status == 304 && answer.body.isEmpty && answer.field("etag") == tag, "\(known)")
        }
        #expect(try await user.get("/data?key=1", [("If-None-Match", "\"other\"")], on: reactor).status == 200)
        // Without a key it is the usual one.
        #expect(try await user.get("/data", on: reactor).text.contains(#""data":{"id":0,"name":"default item"}"#))
        await user.api.stop(on: reactor)
      }
    }

    @Test("a caller may pass all caches by, ask one level alone, and bound how long a value is kept") func wishes()
      async throws
    {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_wishes", redis: redis, on: reactor)
        for _ in 0..<2 {
          let past = try await user.get("/data?key=1&bypass_cache=true", on: reactor)
          #expect(past.text.hasPrefix(#"{"cached":false,"#) && past.field("cache-status") == "millrace; fwd=bypass")
        }
        // What was loaded for one level alone, the others do not have.
        for level in ["L3", "L2", "L1"] {
          let query = "/data?key=2&cache_level=\(level)"
          #expect(try await user.get(query, on: reactor).text.contains(#""cached":false"#), "\(level)")
          let deadline = reactor.now + .seconds(20 as UInt64)
          var text = ""
          repeat {
            text = try await user.get(query, on: reactor).text
          } while !text.contains("true")
            && reactor.now < deadline
          #expect(text.contains(#""cached":true,"cache_level":"\#(level)""#), "\(text)")
        }
        let short = try await user.get("/data?key=3&cache_ttl=7", on: reactor)
        #expect(short.text.hasSuffix(#""cache_ttl":7}"#))
        let again = try await user.get("/data?key=3", on: reactor)
        #expect(again.field("cache-status")?.contains("; ttl=6;") == true)
        for query in [
          "key=", "cache_ttl=0", "cache_ttl=3601", "cache_ttl=x", "cache_level=L4", "bypass_cache=perhaps", "key=a%0Ab",
          "key=1&key=2", "key=" + String(repeating: "k", count: 513),
        ] {
          #expect(try await user.get("/data?\(query)", on: reactor).status == 400, "\(query)")
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("a value climbs one level a hit, with the age that it has from its source") func climbing() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_climbing", redis: redis, on: reactor)
        _ = try await user.get("/data?key=1", on: reactor)
        // It is kept beside its source a moment after the answer; then it is made older than it is.
        let kept = "select count(*) from millrace.data_cache"
        let deadline = reactor.now + .seconds(20 as UInt64)
        while try await user.api.number(kept, on: reactor) == 0, reactor.now < deadline {}
        let older = "update millrace.data_cache set loaded_at = now() - interval '100 seconds'"
        try await user.run(older, on: reactor)
        _ = try await user.api.service.redis?.removeAll(prefix: Array("millrace:data:".utf8), on: reactor)
        user.api.service.data.forgetAll()
        var levels: [String] = []
        for _ in 0..<3 {
          let answer = try await user.get("/data?key=1", on: reactor)
          levels.append(String(answer.text.split(separator: "\"")[5]))
          #expect(100...120 ~= Int(answer.field("age") ?? "") ?? 0, "\(answer.fields)")
        }
        #expect(levels == ["L3", "L2", "L1"])
        await user.api.stop(on: reactor)
      }
    }

    @Test("a thousand who miss one value at the same time make one load, and what fails fails for all of them")
    func crowd() async throws {
      try await onReactor { reactor in
        let user = try await DataUser.start("data_crowd", delay: .milliseconds(100), on: reactor)
        #expect(await user.crowd(1000, on: reactor) == [200: 1000])
        #expect(try await user.figure("millrace_data_loads_total", on: reactor) == 1)
        #expect(try await user.figure("millrace_data_shared_total", on: reactor) == 999)
        // The one connection that values come over is gone for good.
        user.api.service.data.forgetAll()
        user.api.service.data.close(on: reactor)
        #expect(await user.crowd(1000, on: reactor) == [503: 1000])
        #expect(try await user.figure("millrace_data_loads_total", on: reactor) == 1)
        await user.api.stop(on: reactor)
      }
    }

    @Test("that there is no value is believed for a second, and a value that is put is there at once") func nothing()
      async throws
    {
      try await onReactor { reactor in
        let user = try await DataUser.start("data_nothing", on: reactor)
        for _ in 0..<3 { #expect(try await user.get("/data?key=new", on: reactor).status == 404) }
        #expect(try await user.figure("millrace_data_loads_total", on: reactor) == 1)
        let put = try await user.send(.put, "/data/new", #"{"value":{"a": [1, null]}}"#, on: reactor)
        #expect(put.text == #"{"status":"Value stored","key":"new","gateway_id":"api-1"}"#)
        #expect(try await user.get("/data?key=new", on: reactor).text.contains(#""data":{"a": [1, null]}"#))
        _ = try await user.send(.put, "/data/new", #"{"value":2}"#, on: reactor)
        #expect(try await user.get("/data?key=new", on: reactor).text.contains(#""cached":false,"data":2"#))
        for (body, status) in [("{}", 422), ("{", 400), (#"{"value":1,"value":2}"#, 422), ("", 400)] {
          #expect(try await user.send(.put, "/data/new", body, on: reactor).status == status, "\(body)")
        }
        #expect(try await user.get("/data?key=new", on: reactor).text.contains(#""data":2"#))
        // One that somebody else has put here is found when the second is over.
        #expect(try await user.get("/data?key=other", on: reactor).status == 404)
        let insert = "insert into millrace.data_items (key, value) values ('other', '5')"
        try await user.run(insert, on: reactor)
        let deadline = reactor.now + .seconds(20 as UInt64)
        while try await user.get("/data?key=other", on: reactor).status == 404, reactor.now < deadline {}
        #expect(try await user.get("/data?key=other", on: reactor).text.contains(#""data":5"#))
        await user.api.stop(on: reactor)
      }
    }

    @Test("what was changed elsewhere is seen when a key or a prefix is invalidated, in all levels, or all is cleared")
    func invalidating() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_invalidating", redis: redis, on: reactor)
        var value = 10
        for (path, body, said) in [
          ("/cache/invalidate", #"{"key":"1"}"#, #"{"status":"Cache invalidated","key":"1"}"#),
          ("/cache/invalidate", #"{"prefix":"1"}"#, #"{"status":"Cache invalidated","prefix":"1"}"#),
        ] {
          for _ in 0..<3 { _ = try await user.get("/data?key=1", on: reactor) }
          value += 1
          // One that nobody is told of: what comes by replication fires no triggers.
          for sql in [
            "set session_replication_role = replica",
            "update millrace.data_items set value = '\(value)' where key = '1'",
            "set session_replication_role = default",
          ] { try await user.run(sql, on: reactor) }
          #expect(try await !user.get("/data?key=1", on: reactor).text.contains(#""data":\#(value)"#))
          #expect(try await user.send(.post, path, body, on: reactor).text == said)
          let answer = try await user.get("/data?key=1", on: reactor).text
          #expect(answer.contains(#""cached":false,"data":\#(value)"#), "\(answer)")
        }
        for body in ["{}", #"{"key":"1","prefix":"1"}"#] {
          #expect(try await user.send(.post, "/cache/invalidate", body, on: reactor).status == 422)
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("the figures of all levels add up to what was asked for, and say why values have gone") func figures()
      async throws
    {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_figures", redis: redis, on: reactor)
        // Two are loaded, and one of them is found again three times.
        for key in [1, 2, 1, 1, 1] { _ = try await user.get("/data?key=\(key)", on: reactor) }
        _ = try await user.send(.put, "/data/1", #"{"value":1}"#, on: reactor)
        let stats = try await user.get("/cache/stats", on: reactor).text
        let whole = #"{"hits":3,"misses":2,"sets":2,"evictions":0,"hit_rate":0.6,"total_requests":5,"current_size":1,"#
        #expect(stats.hasPrefix(whole), "\(stats)")
        #expect(stats.contains(#""L1":{"hits":3,"misses":2,"sets":2,"#), "\(stats)")
        #expect(stats.contains(#""L2":{"hits":0,"misses":2,"sets":2,"#), "\(stats)")
        #expect(stats.contains(#""L3":{"hits":0,"misses":2,"sets":2,"#), "\(stats)")
        #expect(
          stats.contains(#""removals":{"evicted":0,"expired":0,"invalidated":1},"stale":0,"loads":2,"coalesced":0,"#))
        #expect(stats.contains(#""hears_of_changes":true,"redis":{"keys":1,"#), "\(stats)")
        await user.api.stop(on: reactor)
      }
    }

    @Test("a change by somebody with psql is seen at once, and so are its end and that of all values") func byHand()
      async throws
    {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_by_hand", redis: redis, on: reactor)
        for (sql, status) in [
          ("update millrace.data_items set value = '77' where key = '1'", 200),
          ("delete from millrace.data_items where key = '1'", 404),
          ("insert into millrace.data_items (key, value) values ('1', '77')", 200),
          ("truncate millrace.data_items", 404),
        ] {
          // In every level.
          for _ in 0..<2 { _ = try await user.get("/data?key=1", on: reactor) }
          try await user.run(sql, on: reactor)
          // What PostgreSQL sends reaches this process a moment later.
          let heard = reactor.now + Caching.Limits.coherenceTrust
          var answer = try await user.get("/data?key=1", on: reactor)
          while answer.status != status || status == 200 && !answer.text.contains(#""data":77"#), reactor.now < heard {
            answer = try await user.get("/data?key=1", on: reactor)
          }
          #expect(answer.status == status && (status == 404 || answer.text.contains(#""data":77"#)), "\(answer.text)")
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("a copy in Redis is believed until the last proof is too old, however late it was taken into memory")
    func deaf() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_deaf", redis: redis, on: reactor)
        while try await !user.get("/data?key=1", on: reactor).text.contains("L1") {}
        let feed = try await user.feed(on: reactor)
        defer { kill(feed, SIGCONT) }
        var fromRedis = 0
        // On a machine that was held up it may never come from Redis.
        for round in 1...5 where fromRedis == 0 {
          kill(feed, SIGSTOP)
          let change = "update millrace.data_items set value = '\(round)77' where key = '1'"
          try await user.run(change, on: reactor)
          let changedAt = reactor.now
          while reactor.now.since(changedAt) < .seconds(3 as UInt64) {
            // Until the end of the time in which that is right it comes from Redis, again and again.
            if reactor.now.since(changedAt) < .milliseconds(880) { user.api.service.data.forgetAll() }
            let askedAt = reactor.now.since(changedAt)
            let text = try await user.get("/data?key=1", on: reactor).text
            if text.contains(#""data":\#(round)77"#) { continue }
            if text.contains("L2") { fromRedis += 1 }
            #expect(askedAt <= .seconds(1 as UInt64), "\(text)")
          }
          kill(feed, SIGCONT)
          // Until it comes from memory or from Redis once more, as it does from a process that hears.
          while try await !user.get("/data?key=1", on: reactor).text.contains(#""cached":true"#) {}
        }
        #expect(fromRedis > 0)
        await user.api.stop(on: reactor)
      }
    }

    @Test("who has invalidated all is answered with nothing older, also if the feed has not told of it yet")
    func invalidatingUnheard() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_unheard", redis: redis, on: reactor)
        while try await !user.get("/data?key=1", on: reactor).text.contains("L1") {}
        let feed = try await user.feed(on: reactor)
        kill(feed, SIGSTOP)
        defer { kill(feed, SIGCONT) }
        // What is in Redis of others stays there, and beside the values in PostgreSQL, which knows what it has.
        let order = try await user.send(.post, "/cache/invalidate", #"{"prefix":"other"}"#, on: reactor)
        #expect(order.status == 200)
        let text = try await user.get("/data?key=1", on: reactor).text
        #expect(!text.contains("L1") && !text.contains("L2"), "\(text)")
        await user.api.stop(on: reactor)
      }
    }

    @Test("who comes late to a load that was begun long ago is answered by another one") func late() async throws {
      try await onReactor { reactor in
        let user = try await DataUser.start("data_late", on: reactor)
        // In memory alone: who kept it in PostgreSQL, after the answer, could be the one that is locked below.
        _ = try await user.get("/data?key=2&cache_level=L1", on: reactor)
        for sql in ["begin", "lock table millrace.data_items in access exclusive mode"] {
          try await user.run(sql, on: reactor)
        }
        let first = Task.immediate(executorPreference: reactor.queue) { await user.crowd(1, on: reactor) }
        while try await !user.isAnybodyLocked(on: reactor) {}
        // Longer than the age up to which a value is believed without a proof, which is what this is about.
        await reactor.sleep(for: TimeSpan(nanoseconds: Caching.Limits.coherenceTrust.nanoseconds + 100_000_000))
        // With a proof from now whoever asks next waits for nothing but that load.
        #expect(try await user.get("/data?key=2", on: reactor).status == 200)
        let second = Task.immediate(executorPreference: reactor.queue) { await user.crowd(1, on: reactor) }
        try await user.run("commit", on: reactor)
        #expect(await first.value == [200: 1])
        #expect(await second.value == [200: 1])
        #expect(try await user.figure("millrace_data_shared_total", on: reactor) == 0)
        await user.api.stop(on: reactor)
      }
    }

    @Test("a process that was frozen in the middle of a turn does not believe what it knew before") func frozen()
      async throws
    {
      try await onReactor { reactor in
        let user = try await DataUser.start("data_frozen", on: reactor)
        let data = user.api.service.data
        let query = DataQuery(key: DataKey(.item, "1"))
        while try await data.value(query, on: reactor).level != .l1 {}
        // The whole loop stands still, and with it the time at which its turn began, for longer than that age.
        usleep(UInt32(Caching.Limits.coherenceTrust.nanoseconds / 1000) + 200_000)
        let askedAt = MonotonicTime.current()
        let found = try await data.value(query, on: reactor)
        let provenAt = try #require(data.coherence.provenAt)
        #expect(found.level != .l1 || provenAt >= askedAt, "\(askedAt.since(provenAt))")
        await user.api.stop(on: reactor)
      }
    }

    @Test("keys that only look alike have values of their own, wherever those come from") func alike() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_alike", redis: redis, on: reactor)
        // One letter, and the same written as a letter and its accent: to Swift these strings are equal.
        let keys = ["%C3%A9", "e%CC%81"]
        for path in ["/data/", "/cache/"] {
          for (value, key) in keys.enumerated() {
            #expect(try await user.send(.put, path + key, #"{"value":\#(value)}"#, on: reactor).status == 200)
          }
        }
        for _ in 0..<3 {
          for (value, key) in keys.enumerated() {
            let item = try await user.get("/data?key=\(key)", on: reactor).text
            #expect(item.contains(#""data":\#(value),"#), "\(item)")
            let entry = try await user.get("/cache/\(key)", on: reactor).text
            #expect(entry.contains(#""value":\#(value),"#), "\(entry)")
          }
        }
        await user.api.stop(on: reactor)
      }
    }

    @Test("what in Redis is no value of ours is not answered, and is removed") func foreign() async throws {
      let redis = try TestServer.redis()
      try await onReactor { reactor in
        let user = try await DataUser.start("data_foreign", redis: redis, on: reactor)
        let client = try #require(user.api.service.redis)
        for text in [
          "7", "{", #"{"data":7}"#, #"{"data":7,"loaded_at":"x","version":1,"checked_at":1}"#,
          // What is another key's, and what says no key.
          #"{"data":7,"loaded_at":1,"version":9,"checked_at":9000000000000000,"key":"millrace:data:1"}"#,
          #"{"data":7,"loaded_at":1,"version":9,"checked_at":9000000000000000}"#,
          #"{"data":7,"loaded_at":1,"version":9,"checked_at":9000000000000000,"more":1,"key":"millrace:data:2"}"#,
          // Longer ago than can be counted.
          #"{"data":7,"loaded_at":-9223372036854775808,"version":9,"checked_at":1,"key":"millrace:data:2"}"#,
          // One from before this process heard of changes.
          #"{"data":7,"loaded_at":1,"version":9,"checked_at":1,"key":"millrace:data:2"}"#,
        ] {
          user.api.service.data.forgetAll()
          try await client.set(Array("millrace:data:2".utf8), Array(text.utf8), lifetimeMs: 60_000, on: reactor)
          let answer = try await user.get("/data?key=2", on: reactor).text
          #expect(answer.contains(#""name":"second item""#) && !answer.contains("L2"), "\(text): \(answer)")
        }
        await user.api.stop(on: reactor)
      }
    }
  }
}
