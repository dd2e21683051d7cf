import Basics
import Caching
import DataItems
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

extension APIService {
  private static let valueFields = JSONFields("value")

  /// Adds every path of values, and what answers it.
  static func addDataRoutes(to router: Router<APIService>) {
    router.on(.get, "/data", .user) { (service, request, reactor) throws(Problem) in
      try await service.showData(request, on: reactor)
    }
    router.on(.get, "/data/complex", .user) { (service, request, reactor) throws(Problem) in
      try await service.showComplexData(request, on: reactor)
    }
    router.on(.put, "/data/{key}", .user, bodyBytesMax: Limits.dataBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.putData(request.parameter("key"), request, on: reactor)
    }
    // A literal wins over a parameter, and so this key would have no other way.
    router.on(.put, "/data/complex", .user, bodyBytesMax: Limits.dataBodyBytesMax) {
      (service, request, reactor) throws(Problem) in
      try await service.putData("complex", request, on: reactor)
    }
  }

  /// `GET /data`
  func showData(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let query = try DataQuery(request)
    let found: DataCache.Found
    do throws(DataError) { found = try await data.value(query, on: reactor) } catch { throw problem(error, request) }
    guard let value = found.value else { throw Problem(404, "There is no value of this key.") }
    var response = HTTPResponse(304)
    if !APIService.knows(request, value.tag) {
      var json = JSONWriter(capacity: value.json.count + 128)
      json.object { json in
        json.field("cached", found.level != nil)
        if let level = found.level { json.field("cache_level", level.name.description) }
        if found.staleFor != nil { json.field("stale", true) }
        json.key("data")
        json.raw(value.json)
        json.field("gateway_id", configuration.instance)
        if found.level == nil, !query.isBypass {
          json.field("cache_ttl", UInt64((query.lifetime ?? data.times.l2).seconds))
        }
      }
      response = .json(200, json.bytes)
    }
    response.set("ETag", value.tag)
    // Each use is to be asked for: a copy elsewhere would not hear of changes.
    response.set("Cache-Control", "private, no-cache")
    response.set("Cache-Status", APIService.cacheStatus(found, query))
    if found.level != nil { response.set("Age", String(Int(value.age(at: reactor.now).seconds))) }
    return response
  }

  /// `GET /data/complex`
  func showComplexData(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let key = DataKey(.item, try DataQuery.checked(request.query("id") ?? Limits.dataKeyUsual))
    let found: DataCache.Found
    do throws(DataError) { found = try await data.value(DataQuery(key: key), on: reactor) } catch {
      throw problem(error, request)
    }
    guard let value = found.value else { throw Problem(404, "There is no value of this key.") }
    let (part, isKept): (ServiceParts.Part, Bool)
    do throws(ComputeServices.Failure) {
      guard let services else { throw .unavailable }
      (part, isKept) = try await data.parts.part(
        key, believed: { data.believes(since: $0, at: .current()) }, from: services,
        APIService.serviceFields(of: request), on: reactor)
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter(capacity: value.json.count + 256)
    json.object { json in
      json.field("cached", found.level != nil && isKept)
      json.key("data")
      json.object { json in
        json.key("db_data")
        json.raw(value.json)
        json.key("service_data")
        json.object { json in
          json.field("message", part.answer.message)
          json.field("service_id", part.answer.serviceID)
        }
        json.field("timestamp", part.at.rfc3339)
      }
      json.field("gateway_id", configuration.instance)
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("Cache-Control", "private, no-cache")
    return response
  }

  /// `PUT /data/{key}`
  func putData(
    _ key: String, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    let key = try DataQuery.checked(key)
    let value: [UInt8]
    do throws(JSONError) {
      value = try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        var value: ArraySlice<UInt8>?
        try scanner.object(APIService.valueFields) { (scanner, _) throws(JSONError) in value = try scanner.skip() }
        return Array(try scanner.required(value, "value"))
      }
    } catch {
      throw Problem(error)
    }
    guard value.count <= DataItems.Limits.valueBytesMax else {
      throw Problem(413, "The value is longer than \(DataItems.Limits.valueBytesMax) bytes.")
    }
    do throws(DataError) { try await data.put(key, value, on: reactor) } catch { throw problem(error, request) }
    var json = JSONWriter()
    json.object { json in
      json.field("status", "Value stored")
      json.field("key", key)
      json.field("gateway_id", configuration.instance)
    }
    return .json(200, json.bytes)
  }

  /// Whether the client has the value that `tag` stands for (RFC 9110 §13.1.2: weakly compared).
  private static func knows(_ request: HTTPRequest, _ tag: [UInt8]) -> Bool {
    guard let known = request.text(of: .ifNoneMatch) else { return false }
    let opaque = tag.dropFirst(2)
    return known.split(separator: ",").contains { part in
      let part = part.drop { $0 == " " || $0 == "\t" }.prefix { $0 != " " && $0 != "\t" }
      return part == "*" || (part.hasPrefix("W/") ? part.dropFirst(2) : part).utf8.elementsEqual(opaque)
    }
  }

  /// RFC 9211 §2.
  static func cacheStatus(_ found: DataCache.Found, _ query: DataQuery) -> String {
    if query.isBypass { return "millrace; fwd=bypass" }
    guard let level = found.level else { return "millrace; fwd=uri-miss\(found.isShared ? "; collapsed" : "; stored")" }
    let ttl = found.staleFor.map { -Int($0.seconds) } ?? Int(found.remaining.seconds)
    return "millrace; hit; ttl=\(ttl); detail=\(level.name)"
  }

  /// What a client is told when PostgreSQL has no answer; the log has the reason under the same request id.
  func problem(_ error: DataError, _ request: HTTPRequest) -> Problem {
    log.warning(
      "request failed",
      [("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", "\(error)")])
    if error.isUnknown {
      return Problem(503, "The store of values has not answered: what was sent may be stored.", retryAfterSeconds: 1)
    }
    if error.isTransient {
      return Problem(503, "The store of values cannot be reached at the moment. Try again.", retryAfterSeconds: 1)
    }
    return Problem(500, "Something went wrong on our side.")
  }
}
