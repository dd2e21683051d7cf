import Basics
import HTTP
import Reactor
import VersionedStore

extension KeyValueService {
  /// `GET /keys`
  func listKeys(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let range = try KeyRequest.range(request)
    let limit = try KeyRequest.limit(request)
    let after = try request.query("cursor", takes: "what next_cursor was") { text in
      Base64URL.decode(text.utf8).flatMap { StoreKey(utf8: $0) }
    }
    let partitions = try KeyRequest.partitions(request, range, of: store.partitionCount)
    // A part of the keys would pass for all of them.
    for partition in partitions { try await take(partition, for: request, on: reactor) }
    var keys: [KeyEntry]
    do throws(StoreError) {
      keys = try await store.keys(in: range, after: after, limit: limit + 1, of: partitions, on: reactor)
    } catch {
      throw problem(error, request)
    }
    let hasMore = keys.count > limit
    if hasMore { keys.removeLast() }
    let next = hasMore ? keys.last.map { Base64URL.encode($0.key.bytes) } : nil
    var json = JSONWriter(capacity: keys.count * 96 + 128)
    json.object { json in
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
      json.key("next_cursor")
      if let next { json.string(next) } else { json.null() }
      json.field("server_used", usedName)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("X-Server-Used", usedName)
    return response
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
