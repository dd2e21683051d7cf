import Basics
import Caching
import HTTP
import HTTPSyntax
import Reactor
import Roles
import Telemetry
import VersionedStore

extension KeyValueService {
  private var names: [String] { placement.servers }

  /// The server that `server` names: nil for this one.
  /// - Throws: `Problem` 400 with the names of those there are.
  private func wanted(_ request: HTTPRequest) throws(Problem) -> KeyValuePeer? {
    guard let given = try request.query("server") else { return nil }
    // `server-2:8080`, as answers say who has answered, does as well; others may know it by another address.
    let parts = given.split(separator: ":", omittingEmptySubsequences: false)
    let isPlace = parts.count == 2 && UInt16(parts[1]) != nil && !names.contains(given)
    let name = isPlace ? String(parts[0]) : given
    if name == configuration.name { return nil }
    if let peer = peers.named(name) { return peer }
    throw Problem(
      400, "There is no server of this name; there are \(names.joined(separator: ", ")).",
      errors: [Problem.FieldError("server", "is not one of: \(names.joined(separator: ", "))")])
  }

  /// What another server answers itself.
  private func passedOn(
    _ target: String, to peer: KeyValuePeer, for request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    guard let answer = await peers.ask(peer, .get, target, on: reactor), answer.status == 200 else {
      throw unavailable("'\(peer.name)' does not answer.", "'\(peer.name)' does not answer", request)
    }
    return .json(200, answer.body)
  }

  /// `GET /cache/stats`
  func cacheStatistics(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    if let peer = try wanted(request) { return try await passedOn("/cache/stats", to: peer, for: request, on: reactor) }
    let statistics = store.cacheStatistics
    var json = JSONWriter()
    json.object { json in
      json.field("server", configuration.name)
      json.field("current_size", store.cacheCount)
      json.field("max_size", store.cacheEntriesMax)
      json.field("is_full", store.cacheCount >= store.cacheEntriesMax)
      json.field("expiration_minutes", Int(VersionedStore.Limits.cacheLifetime.seconds / 60))
      json.field("hits", statistics.hits)
      json.field("misses", statistics.misses)
      json.field("evictions", statistics.evictions)
      json.field("hit_rate", statistics.hitRate)
    }
    return .json(200, json.bytes)
  }

  /// `GET /db/stats`: of the partitions that this server has, or can have because nobody else does.
  func storeStatistics(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    if let peer = try wanted(request) { return try await passedOn("/db/stats", to: peer, for: request, on: reactor) }
    var sum = PartitionFigures()
    var counted: [Int] = []
    do throws(StoreError) {
      for partition in 0..<store.partitionCount {
        // Alone it has all of them; beside others it does not take what nobody has asked it for.
        guard peers.others.isEmpty || store.holds(partition) else { continue }
        let figures = try await store.figures(of: partition, on: reactor)
        sum.keys += figures.keys
        sum.versions += figures.versions
        sum.fileBytes += figures.fileBytes
        counted.append(partition)
      }
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter()
    json.object { json in
      json.field("server", configuration.name)
      json.field("total_keys", sum.keys)
      json.field("total_versions", sum.versions)
      json.field("file_size_bytes", sum.fileBytes)
      json.key("partitions")
      json.array { json in for partition in counted { json.integer(partition) } }
    }
    return .json(200, json.bytes)
  }

  /// `GET /servers`: who there is, what of the ring is whose, where each partition stands among those that are alive,
  /// and who has it at present.
  func listServers(on reactor: isolated Reactor) async -> HTTPResponse {
    let answers = await peers.askAll(peers.others.map { ($0, "/livez") }, on: reactor)
    var alive: Set = [configuration.name]
    for (peer, answer) in zip(peers.others, answers) where answer?.status == 200 { alive.insert(peer.name) }
    let owners = placement.owners { alive.contains(names[$0]) }
    let (holders, shares) = (await store.holders(on: reactor), placement.shares)
    var json = JSONWriter(capacity: 1024)
    json.object { json in
      json.key("servers")
      json.array { json in
        for (index, name) in names.enumerated() {
          json.object { json in
            json.field("name", name)
            json.field("address", peers.named(name)?.address.description ?? configuration.endpoints.first?.description)
            json.field("state", alive.contains(name) ? "up" : "unreachable")
            json.field("ring_share", shares[index])
            json.key("partitions")
            json.array { json in
              for partition in owners.indices where owners[partition] == index { json.integer(partition) }
            }
            json.key("holds")
            json.array { json in
              for partition in holders.indices where holders[partition] == name { json.integer(partition) }
            }
          }
        }
      }
      json.field("count", names.count)
      json.field("partition_count", store.partitionCount)
    }
    return .json(200, json.bytes)
  }

  /// `GET /insights`: what all servers have measured of themselves, and who of them stands out.
  func insights(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    if try request.query("server") != nil {
      if let peer = try wanted(request) {
        return try await passedOn(ownInsights(of: peer), to: peer, for: request, on: reactor)
      }
      var json = JSONWriter()
      json.object { json in load.figures.write(&json) }
      return .json(200, json.bytes)
    }
    let answers = await peers.askAll(peers.others.map { ($0, ownInsights(of: $0)) }, on: reactor)
    var rows: [(name: String, figures: ServerFigures?)] = [(configuration.name, load.figures)]
    for (peer, answer) in zip(peers.others, answers) {
      rows.append((peer.name, answer.flatMap { $0.status == 200 ? ServerFigures(json: $0.body) : nil }))
    }
    let known = rows.compactMap { row in row.figures.map { (name: row.name, figures: $0) } }
    let total = known.reduce(0) { $0 + $1.figures.requests }
    let latency = known.reduce(0) { $0 + $1.figures.averageLatencyMs * Double($1.figures.requests) }
    var json = JSONWriter(capacity: 1024)
    json.object { json in
      json.field("total_requests", total)
      json.field("avg_latency_ms", total == 0 ? 0 : latency / Double(total))
      json.key("hot_spots")
      json.array { json in
        for name in Standouts.names(known.map { ($0.name, Double($0.figures.requests)) }) { json.string(name) }
      }
      json.key("slow_servers")
      json.array { json in
        for name in Standouts.names(known.map { ($0.name, $0.figures.averageLatencyMs) }) { json.string(name) }
      }
      json.key("servers")
      json.array { json in
        for row in rows {
          json.object { json in
            json.field("name", row.name)
            json.field("state", row.figures == nil ? "unreachable" : "up")
            row.figures?.write(&json)
          }
        }
      }
    }
    return .json(200, json.bytes)
  }

  /// A name of a setting may hold what has a meaning in a target.
  private func ownInsights(of peer: KeyValuePeer) -> String {
    "/insights?server=" + String(decoding: PercentEncoding.encoded(Array(peer.name.utf8)), as: UTF8.self)
  }

  /// `POST /partitions/{number}/leave`: another server is asked for keys of a partition that this one has.
  func leave(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    // There is no body that would have to be JSON, so a page of another site can have a browser send this.
    if request.isFromForeignPage { throw Problem(403, "Pages of other sites may not move partitions.") }
    let number = request.integer("number")
    guard number < store.partitionCount else { throw Problem(404, "There is no partition \(number).") }
    guard await store.leave(number, unusedFor: Limits.unusedBeforeLeaving, on: reactor) else {
      throw Problem(409, "This server is asked for keys of partition \(number) itself.")
    }
    log.info("gave a partition away", [("partition", "\(number)")])
    return .json(200, Array(#"{"partition":\#(number)}"#.utf8))
  }
}
