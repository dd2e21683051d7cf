import Basics
import HTTP
import Reactor
import VersionedStore

extension KeyValueService {
  /// `GET /keys`
  func listKeys(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let range = try KeyRequest.range(request)
    let limit = try KeyRequest.limit(request)
    let after = try cursor(request)
    let partitions = try KeyRequest.partitions(request, range, of: store.partitionCount)
    // A part of the keys would pass for all of them.
    var keys = try await keys(in: range, after: after, limit: limit + 1, of: partitions, for: request, on: reactor)
    let hasMore = keys.count > limit
    if hasMore { keys.removeLast() }
    let next = hasMore ? keys.last.map { Base64URL.encode($0.key.bytes) } : nil
    var json = JSONWriter(capacity: keys.count * 96 + 128)
    json.object { json in
      KeyList.write(keys, to: &json)
      json.key("next_cursor")
      if let next { json.string(next) } else { json.null() }
      json.field("server_used", usedName)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("X-Server-Used", usedName)
    return response
  }

  /// `GET /partitions/{numbers}/keys`: what another server puts together with its own.
  func listOwnKeys(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let range = try KeyRequest.range(request)
    let limit = try KeyRequest.limit(request, plus: 1)
    let after = try cursor(request)
    let partitions = try await askedPartitions(request, on: reactor)
    let keys: [KeyEntry]
    do throws(StoreError) {
      keys = try await store.keys(in: range, after: after, limit: limit, of: partitions, on: reactor)
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter(capacity: keys.count * 96 + 32)
    json.object { KeyList.write(keys, to: &$0) }
    return .json(200, json.bytes)
  }

  private func cursor(_ request: HTTPRequest) throws(Problem) -> StoreKey? {
    try request.query("cursor", takes: "what next_cursor was") { text in
      Base64URL.decode(text.utf8).flatMap { StoreKey(utf8: $0) }
    }
  }

  /// The first keys of all servers.
  private func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of partitions: [Int], for request: HTTPRequest,
    on reactor: isolated Reactor
  ) async throws(Problem) -> [KeyEntry] {
    var query = "?limit=\(limit)&\(Whereabouts.parameter("prefix", range.prefix))"
    if let after { query += "&\(Whereabouts.parameter("cursor", Array(Base64URL.encode(after.bytes))))" }
    var silent: Set<String> = []
    var moves = 0
    while true {
      let found = try await whereabouts(of: partitions, without: silent, for: request, on: reactor)
      let answers = await peers.askAll(
        found.elsewhere.map { ($0.peer, Whereabouts.target($0.partitions, "keys") + query) },
        within: Limits.peerListPatience, on: reactor)
      var lists = answers.map { $0.flatMap { $0.status == 200 ? KeyList.read($0.body) : nil } }
      let failed = zip(found.elsewhere, lists).filter { $0.1 == nil }.map(\.0.peer)
      note(failed, in: &silent)
      guard failed.isEmpty else { continue }
      do throws(StoreError) {
        lists.append(try await store.keys(in: range, after: after, limit: limit, of: found.here, on: reactor))
      } catch {
        // One has just gone to another server.
        moves += 1
        if moves < Limits.movesMax, !found.here.allSatisfy(store.holds) { continue }
        throw problem(error, request)
      }
      return Array(lists.compactMap { $0 }.joined().sorted { $0.key < $1.key }.prefix(limit))
    }
  }

  /// `POST /batch/{key}`: the key says where the batch goes, as a balancer reads it, and all that is in it is there.
  func batch(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    let partition = store.partition(of: try KeyRequest.key(request))
    let steps = try BatchBody(request.body).steps
    if let stray = steps.firstIndex(where: { store.partition(of: $0.key) != partition }) {
      throw Problem(
        422, "All keys of a batch are of one partition, that of the key in its path: give them one {tag}.",
        errors: [Problem.FieldError("operations[\(stray)].key", "is of another partition")])
    }
    let (results, isReplayed) = try await done(
      Change(steps, name: try KeyRequest.name(request)), request, on: reactor)
    var json = JSONWriter(capacity: results.count * 128 + 64)
    json.object { json in
      json.key("results")
      json.array { json in
        for (step, result) in zip(steps, results) {
          json.object { KeyValueService.write(result, of: step.key, &$0) }
        }
      }
      json.field("server_used", usedName)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("X-Server-Used", usedName)
    if isReplayed { response.set("Idempotency-Replayed", "true") }
    return response
  }
}

/// A list of keys as servers send it to clients and to each other.
private enum KeyList {
  private static let list = JSONFields("items")
  private static let fields = JSONFields("key", "version", "timestamp")

  static func write(_ keys: [KeyEntry], to json: inout JSONWriter) {
    json.key("items")
    json.array { json in
      for entry in keys {
        json.object { json in
          json.field("key", entry.key.bytes)
          json.field("version", entry.version)
          json.field("timestamp", entry.timestamp.rfc3339)
        }
      }
    }
  }

  /// Nil for anything but what `write` has written into an object.
  static func read(_ bytes: [UInt8]) -> [KeyEntry]? {
    var keys: [KeyEntry?] = []
    do throws(JSONError) {
      try JSONScanner.read(bytes) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(list) { (scanner: inout JSONScanner, _) throws(JSONError) in
          try scanner.array { (scanner: inout JSONScanner) throws(JSONError) in keys.append(try entry(&scanner)) }
        }
      }
    } catch {
      return nil
    }
    let known = keys.compactMap { $0 }
    return known.count == keys.count ? known : nil
  }

  private static func entry(_ scanner: inout JSONScanner) throws(JSONError) -> KeyEntry? {
    var (key, version, time): (StoreKey?, Int?, Timestamp?)
    try scanner.object(fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
      switch field {
      case 0: key = StoreKey(utf8: try scanner.string())
      case 1: version = try scanner.integer()
      default: time = Timestamp(rfc3339: try scanner.string())
      }
    }
    guard let key, let version, let time else { return nil }
    return KeyEntry(key: key, version: Int64(version), timestamp: time)
  }
}
