import Basics
import Caching
import DataItems
import HTTP
import Reactor
import Redis
import TaskQueue
import Tasks
import Telemetry
import Tokens

extension APIService {
  /// `GET /health`. One whose tables are not those that it knows can store nothing, and balancers leave it out; without
  /// a PostgreSQL it still answers from the caches.
  func health() throws(Problem) -> HTTPResponse {
    guard queue.hasItsTables else {
      throw Problem(503, "The tables are not those that this program knows.", retryAfterSeconds: 1)
    }
    var json = JSONWriter(capacity: 96)
    json.object { json in
      json.field("status", "healthy")
      json.field("service", configuration.service)
      json.field("instance", configuration.instance)
    }
    return .json(200, json.bytes)
  }

  /// `GET /token`: a token without any scope, for whoever asks.
  func issueToken(by tokens: TokenAuthority) throws(Problem) -> HTTPResponse {
    let now = Timestamp.current().seconds
    let lifetime = configuration.tokenLifetimeSeconds
    guard let token = tokens.token(for: Limits.guestName, lifetimeSeconds: lifetime, at: now) else {
      // The keys have changed since the start: now they only verify.
      throw Problem(503, "Nothing is signed here at the moment.", retryAfterSeconds: 60)
    }
    var json = JSONWriter(capacity: 512)
    json.object { $0.field("token", token) }
    var response = HTTPResponse.json(200, json.bytes)
    // Nobody on the way may hand it to the next one who asks (RFC 6749 §5.1).
    response.set("Cache-Control", "no-store")
    return response
  }

  /// `GET /cache/stats`
  func cacheStatistics(on reactor: isolated Reactor) async -> HTTPResponse {
    let l1 = cache.l1
    // A request asks L1 first and the others only after that has missed, so the whole misses what the last one does.
    let results = (memory: l1.statistics, shared: cache.l2)
    let values = CacheLevel.allCases.map { data.statistics(of: $0) }
    var total = values.reduce(results.memory + results.shared, +)
    total.misses = (redis == nil ? results.memory.misses : results.shared.misses) + Int(data.loads.missed)
    total.sets = results.memory.sets + values[0].sets
    let size = l1.count + data.size.count
    let server = await redisReport(on: reactor)
    var json = JSONWriter(capacity: 1536)
    json.object { json in
      APIService.write(total, size: size, &json)
      json.key("levels")
      json.object { json in
        json.key("L1")
        json.object { json in
          APIService.write(results.memory + values[0], size: size, &json)
          json.field("current_bytes", l1.bytes + data.size.bytes)
          json.field("max_size", configuration.l1EntriesMax + Limits.dataEntriesMax)
        }
        json.key("L2")
        json.object { json in
          APIService.write(results.shared + values[1], size: server?.keys ?? 0, &json)
          json.field("refused", cache.l2Refused)
        }
        json.key("L3")
        // How many there are is known to PostgreSQL alone.
        json.object { APIService.write(values[2], size: nil, &$0) }
      }
      json.key("removals")
      json.object { json in
        json.field("evicted", total.evictions)
        json.field("expired", total.expirations)
        json.field("invalidated", total.invalidations)
      }
      json.field("stale", total.stale)
      json.field("loads", data.loads.count)
      json.field("coalesced", data.loads.shared)
      json.field("hears_of_changes", data.hearsOfChanges)
      json.key("redis")
      guard let server else { return json.null() }
      json.object { json in
        json.field("keys", server.keys)
        for (name, value) in server.info {
          json.field(name, value)
        }
      }
    }
    return .json(200, json.bytes)
  }

  private static func write(_ statistics: CacheStatistics, size: Int?, _ json: inout JSONWriter) {
    json.field("hits", statistics.hits)
    json.field("misses", statistics.misses)
    json.field("sets", statistics.sets)
    json.field("evictions", statistics.evictions)
    json.field("hit_rate", statistics.hitRate)
    json.field("total_requests", statistics.hits + statistics.misses)
    json.key("current_size")
    if let size { json.integer(size) } else { json.null() }
  }

  /// The numbers of Redis' own INFO that tell whether the cache does its work; nil if it does not answer.
  private func redisReport(on reactor: isolated Reactor) async -> (keys: Int, info: [(name: StaticString, value: Int)])?
  {
    guard let redis, let info = try? await redis.info(on: reactor), let keys = try? await redis.keyCount(on: reactor)
    else { return nil }
    let names: [StaticString] = [
      "used_memory", "maxmemory", "keyspace_hits", "keyspace_misses", "evicted_keys", "expired_keys",
    ]
    return (keys, names.compactMap { name in info["\(name)"].flatMap { Int($0) }.map { (name, $0) } })
  }

  /// `POST /cache/clear` and `/cache/flush`: every cached entry of this system, in Redis and in the memory of all API
  /// processes. What PostgreSQL stores of tasks are results, not a cache of them, and stays.
  func clearCache(on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    cache.clearMemory()
    if let redis {
      do {
        _ = try await redis.removeAll(prefix: Array(RedisNames.resultPrefix.utf8), on: reactor)
        // Until now it may have come back from there.
        cache.clearMemory()
        try await redis.publish(
          Array(configuration.instance.utf8), to: Array(RedisNames.clearChannel.utf8), on: reactor)
      } catch {
        log.warning("the shared cache could not be cleared", [("reason", "\(error)")])
        throw Problem(503, "The shared cache cannot be reached at the moment. Try again.", retryAfterSeconds: 1)
      }
    }
    do throws(DataError) { try await data.invalidateAll(prefix: "", on: reactor) } catch {
      log.warning("the cache of values could not be cleared", [("reason", "\(error)")])
      throw Problem(503, "The store of values cannot be reached at the moment. Try again.", retryAfterSeconds: 1)
    }
    return .json(200, Array(#"{"message":"Cache cleared successfully"}"#.utf8))
  }
}

extension APIService: MessageReceiver {
  /// What API processes listen to.
  static let channels = [RedisNames.doneChannel, RedisNames.changedChannel, RedisNames.clearChannel]

  /// Subscriptions stand or fall, or another process has told something.
  func received(_ event: RedisSubscriber.Event, on reactor: isolated Reactor) {
    switch event {
    case .connected:
      // While nobody listened, somebody may have told to forget.
      cache.clearMemory()
      board.hasNews = true
    case .disconnected:
      board.hasNews = false
    case .message(let channel, let payload):
      if channel.elementsEqual(RedisNames.doneChannel.utf8) {
        board.completed(RedisNames.ids(in: payload))
      } else if channel.elementsEqual(RedisNames.changedChannel.utf8) {
        board.changed(RedisNames.ids(in: payload))
      } else {
        cache.clearMemory()
      }
    }
  }
}
