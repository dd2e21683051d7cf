import Basics
import HTTP
import HTTPSyntax
import Reactor
import VersionedStore

extension KeyValueService {
  private static let valueFields = JSONFields("value")

  /// `PUT` and `POST /put/{key}`
  func put(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    let key = try KeyRequest.key(request)
    let (condition, lifetime) = (try KeyRequest.condition(request), try KeyRequest.lifetime(request))
    let value: ArraySlice<UInt8>
    do throws(JSONError) {
      value = try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        var value: ArraySlice<UInt8>?
        try scanner.object(KeyValueService.valueFields) { (scanner, _) throws(JSONError) in
          value = try scanner.skip()
        }
        return try scanner.required(value, "value")
      }
    } catch {
      throw Problem(error)
    }
    let step = Change.Step(key, .put(try StoredValue.checked(value), lifetime: lifetime), if: condition)
    return try await change(Change([step], name: try KeyRequest.name(request)), request, on: reactor)
  }

  /// `DELETE /delete/{key}`
  func delete(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let key = try KeyRequest.key(request)
    let purges = try request.query("purge", takes: "true or false") { ["true": true, "false": false][$0] } ?? false
    let step = Change.Step(key, purges ? .purge : .delete, if: try KeyRequest.condition(request))
    return try await change(Change([step], name: try KeyRequest.name(request)), request, on: reactor)
  }

  /// Does a change of one key, and tells what became of it.
  private func change(
    _ change: Change, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    let key = change.steps[0].key
    let (results, isReplayed) = try await done(change, request, on: reactor)
    var json = JSONWriter(capacity: key.bytes.count + 192)
    json.object { json in
      KeyValueService.write(results[0], of: key, &json)
      json.field("server_used", usedName)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("ETag", "\"\(results[0].version)\"")
    response.set("X-Server-Used", usedName)
    if isReplayed { response.set("Idempotency-Replayed", "true") }
    return response
  }

  /// What became of a key, as fields.
  static func write(_ result: StepResult, of key: StoreKey, _ json: inout JSONWriter) {
    json.field("operation", result.operation.rawValue)
    json.field("key", key.bytes)
    if result.operation == .create {
      json.field("version", result.version)
    } else {
      json.field("new_version", result.version)
      json.field("previous_version", result.previous)
    }
    json.field("total_versions", result.kept)
  }

  /// Does a change.
  /// - Throws: `Problem`: 412 with what a key has whose condition is not met, 404 for a deletion of nothing, 422 for a
  ///   name that stands for something else.
  func done(
    _ change: Change, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> (results: [StepResult], isReplayed: Bool) {
    try await take(store.partition(of: change.steps[0].key), for: request, on: reactor)
    let outcome: ChangeOutcome
    do throws(StoreError) { outcome = try await store.change(change, on: reactor) } catch {
      throw problem(error, request, mayBeDone: true)
    }
    let isBatch = change.steps.count > 1
    switch outcome {
    case .done(let results, let isReplayed): return (results, isReplayed)
    case .missing(let step):
      throw Problem(404, isBatch ? "There is no value of the key of operation \(step)." : "There is no such key.")
    case .conflict:
      throw Problem(
        422, "This Idempotency-Key was sent with another request.",
        errors: [Problem.FieldError("Idempotency-Key", "stands for another request")])
    case .refused(let step, let current):
      var problem = Problem(
        412, isBatch ? "The condition of operation \(step) is not met." : "The key has another version.")
      var json = JSONWriter()
      if let current { json.object { current.writeFields(to: &$0) } } else { json.null() }
      problem.members = [("current", json.bytes)]
      throw problem
    }
  }

  /// `GET /get/{key}`
  func get(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let key = try KeyRequest.key(request)
    let wanted = try request.query("version", takes: "a version from 1 on") { KeyRequest.version($0) }
    try await take(store.partition(of: key), for: request, on: reactor)
    let (lookup, isCached): (Lookup, Bool)
    do throws(StoreError) {
      if let wanted {
        (lookup, isCached) = (try await store.version(wanted, of: key, on: reactor), false)
      } else {
        (lookup, isCached) = try await store.newest(key, on: reactor)
      }
    } catch {
      throw problem(error, request)
    }
    switch lookup {
    case .none: throw Problem(404, wanted == nil ? "There is no such key." : "The key has no such version.")
    case .compacted(let oldest):
      throw Problem(410, "This version is not kept any more; the oldest is \(oldest).")
    case .found(let version):
      guard let value = version.value else { throw Problem(404, "The key was deleted in version \(version.version).") }
      // An old version is what it was, whenever it ended.
      guard wanted != nil || version.isLive(at: Timestamp.current()) else {
        throw Problem(404, "There is no such key.")
      }
      return try answer(version, value, isCached: isCached, request)
    }
  }

  private func answer(
    _ version: StoredVersion, _ value: [UInt8], isCached: Bool, _ request: HTTPRequest
  ) throws(Problem) -> HTTPResponse {
    let isKnown = try KeyRequest.condition(request).noneMatch.map {
      Condition(noneMatch: $0).isMet(by: version.version)
    }
    var response = HTTPResponse(304)
    if isKnown != false {
      var json = JSONWriter(capacity: value.count + 160)
      json.object { json in
        json.key("value")
        json.raw(value)
        json.field("version", version.version)
        json.field("timestamp", version.timestamp.rfc3339)
        if let expiry = version.expiry { json.field("expires_at", expiry.rfc3339) }
        json.field("source", isCached ? "cache" : "database")
        json.field("server_used", usedName)
      }
      response = .json(200, json.bytes)
    }
    response.set("ETag", "\"\(version.version)\"")
    response.set("Cache-Control", "no-cache")
    response.set("X-Server-Used", usedName)
    return response
  }

  /// `GET /history/{key}`
  func history(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let key = try KeyRequest.key(request)
    let limit = try KeyRequest.limit(request)
    let before = try request.query("cursor", takes: "what next_cursor was") { KeyRequest.version($0) }
    try await take(store.partition(of: key), for: request, on: reactor)
    let versions: [StoredVersion]
    do throws(StoreError) {
      versions = try await store.history(key, before: before, limit: limit, on: reactor)
    } catch {
      throw problem(error, request)
    }
    guard before != nil || !versions.isEmpty else { throw Problem(404, "There is no such key.") }
    // A page may be shorter than was wished, for its bytes; whether there are more the next one tells.
    let next = versions.last.flatMap { $0.version > 1 ? $0.version : nil }
    var json = JSONWriter(capacity: versions.reduce(256) { $0 + ($1.value?.count ?? 0) + 96 })
    json.object { json in
      json.field("key", key.bytes)
      json.key("versions")
      json.array { json in for version in versions { json.object { version.writeFields(to: &$0) } } }
      json.field("next_cursor", next.map { String($0) })
      json.field("server_used", usedName)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("X-Server-Used", usedName)
    return response
  }
}
