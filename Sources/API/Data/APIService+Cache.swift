import Basics
import Caching
import DataItems
import HTTP
import HTTPSyntax
import Reactor

/// The cache as a service of its own, and what people tell it to forget. `stats`, `clear`, `flush` and `invalidate` are
/// paths of other calls: keys of these names are refused.
extension APIService {
  private static let keyFields = JSONFields("key", "prefix")
  private static let entryFields = JSONFields("value", "ttl", "level")

  /// Adds these paths, and what answers them.
  static func addCacheRoutes(to router: Router<APIService>) {
    router.on(.post, "/cache/invalidate", .user) { (service, request, reactor) throws(Problem) in
      try await service.invalidateCache(request, on: reactor)
    }
    router.on(.get, "/cache/{key}", .user) { (service, request, reactor) throws(Problem) in
      try await service.showEntry(request, on: reactor)
    }
    router.on(.put, "/cache/{key}", .user, bodyBytesMax: Limits.dataBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.putEntry(request, on: reactor)
    }
    router.on(.delete, "/cache/{key}", .user) { (service, request, reactor) throws(Problem) in
      try await service.invalidated(try DataQuery.checked(request.parameter("key")), request, on: reactor)
    }
  }

  /// `GET /cache/{key}`
  func showEntry(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let key = try DataQuery.checked(request.parameter("key"))
    let level = try request.query("level", takes: "L1, L2 or L3") { CacheLevel(name: $0) }
    let query = DataQuery(key: DataKey(.entry, key), level: level)
    let found: DataCache.Found
    do throws(DataError) { found = try await data.value(query, on: reactor) } catch { throw problem(error, request) }
    guard let value = found.value, let level = found.level else {
      throw Problem(404, "The cache has no entry of this key.")
    }
    var json = JSONWriter(capacity: value.json.count + 64)
    json.object { json in
      json.key("value")
      json.raw(value.json)
      json.field("level", level.name.description)
      json.field("hit", true)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("Cache-Control", "private, no-cache")
    response.set("Cache-Status", APIService.cacheStatus(found, query))
    response.set("Age", String(Int(value.age(at: reactor.now).seconds)))
    return response
  }

  /// `PUT /cache/{key}`
  func putEntry(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    let key = try DataQuery.checked(request.parameter("key"))
    var value: [UInt8]?
    var seconds = Limits.entrySecondsUsual
    var name = "all"
    do throws(JSONError) {
      try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(APIService.entryFields) { (scanner: inout JSONScanner, field) throws(JSONError) in
          switch field {
          case 0: value = Array(try scanner.skip())
          case 1: seconds = try scanner.integer()
          default: name = String(decoding: try scanner.string(), as: UTF8.self)
          }
        }
        value = try scanner.required(value, "value")
      }
    } catch {
      throw Problem(error)
    }
    let level = CacheLevel(name: name)
    let (isTimely, isLevel) = (
      1...Limits.dataLifetimeSecondsMax ~= seconds, level != nil || name.lowercased() == "all"
    )
    guard let value, isTimely, isLevel else {
      let fault =
        isTimely
        ? Problem.FieldError("level", "is none of L1, L2, L3 and all")
        : Problem.FieldError("ttl", "is not 1 to \(Limits.dataLifetimeSecondsMax) seconds")
      throw Problem(422, "This cannot be put into the cache.", errors: [fault])
    }
    guard value.count <= DataItems.Limits.valueBytesMax else {
      throw Problem(413, "The value is longer than \(DataItems.Limits.valueBytesMax) bytes.")
    }
    do throws(DataError) {
      try await data.putEntry(key, value, for: .seconds(UInt64(seconds)), in: level, on: reactor)
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter()
    json.object { json in
      json.field("status", "Value cached")
      json.field("key", key)
      json.field("ttl", seconds)
      json.field("level", level?.name.description ?? "all")
    }
    return .json(200, json.bytes)
  }

  /// `POST /cache/invalidate`
  func invalidateCache(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    var (key, prefix): (String?, String?)
    do throws(JSONError) {
      try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(APIService.keyFields) { (scanner: inout JSONScanner, field) throws(JSONError) in
          let text = String(decoding: try scanner.string(), as: UTF8.self)
          if field == 0 { key = text } else { prefix = text }
        }
      }
    } catch {
      throw Problem(error)
    }
    guard (key == nil) != (prefix == nil), let name = key ?? prefix else {
      throw Problem(
        422, "Either a key or a prefix is needed.", errors: [Problem.FieldError("key", "it, or prefix, is needed")])
    }
    _ = try DataQuery.checked(name)
    if key != nil { return try await invalidated(name, request, on: reactor) }
    do throws(DataError) { try await data.invalidateAll(prefix: name, on: reactor) } catch {
      throw problem(error, request)
    }
    return APIService.cacheInvalidated("prefix", name)
  }

  /// What is kept of `key` is gone.
  private func invalidated(
    _ key: String, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    do throws(DataError) { try await data.invalidate(key, on: reactor) } catch { throw problem(error, request) }
    return APIService.cacheInvalidated("key", key)
  }

  private static func cacheInvalidated(_ field: StaticString, _ name: String) -> HTTPResponse {
    var json = JSONWriter()
    json.object { json in
      json.field("status", "Cache invalidated")
      json.field(field, name)
    }
    return .json(200, json.bytes)
  }
}
