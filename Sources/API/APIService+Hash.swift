import Basics
import Caching
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import TaskQueue

/// Waits for the lookup that another request for the same result has begun.
typealias FlightWaiter = UnsafeContinuation<Void, Never>

extension APIService {
  /// What became of a submission: a result at once, or a task to wait for.
  private enum Answer {
    case cached(ResultCache.Hit)
    case task(id: Int64, state: TaskState)
  }

  private static let bodyFields = JSONFields("string")

  /// `POST /hash/<kind>`
  func submitHash(
    _ kind: HashKind, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    let input = try APIService.input(of: request)
    let wait = try WaitPreference(request)
    switch try await answer(kind, input, request, on: reactor) {
    case .cached(let hit): return APIService.cachedResponse(hit)
    case .task(let id, let state):
      if let wait, let task = await waitForEnd(of: id, wait, request, on: reactor) {
        return wait.applied(to: .json(200, task.json))
      }
      return APIService.queuedResponse(kind, id, state)
    }
  }

  /// Memory, then Redis, then the statement that finds the result in PostgreSQL or queues the task.
  private func answer(
    _ kind: HashKind, _ input: [UInt8], _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    guard let digest = kind.digest(of: input), let key = kind.cacheKey(of: input) else {
      return try await queue(kind, input, nil, request, on: reactor)
    }
    if let hit = cache.inMemory(digest, at: reactor.now) { return .cached(hit) }
    if let hit = await sharedHit(digest, key: key, on: reactor) { return .cached(hit) }
    return try await queue(kind, input, (digest, key), request, on: reactor)
  }

  /// Looks into Redis, once for all requests that want the same result at the same time.
  private func sharedHit(
    _ digest: Digest256, key: [UInt8], on reactor: isolated Reactor
  ) async -> ResultCache.Hit? {
    switch flights.join(digest) {
    case .lead:
      let hit = await cache.inRedis(digest, key: key, on: reactor)
      for waiter in flights.land(digest) { waiter.resume() }
      return hit
    case .follow:
      await withUnsafeContinuation { flights.wait($0, for: digest) }
      return cache.inMemory(digest, at: reactor.now)
    case .refused:
      return nil
    }
  }

  private func queue(
    _ kind: HashKind, _ input: [UInt8], _ identity: (digest: Digest256, key: [UInt8])?, _ request: HTTPRequest,
    on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    let group = kind.slotGroup(inputBytes: input.count)
    let submission = Submission(
      kind: kind.name, lane: Lane(group: group.rawValue, priority: .normal),
      payload: kind.isSecret ? sealer.seal(input, context: Array(kind.name.utf8)) : input,
      digest: identity?.digest.bytes, tasksPerWakeUp: group.tasksPerWakeUp,
      trace: String(decoding: request.id, as: UTF8.self))
    do {
      switch try await submitter.submit(submission, on: reactor) {
      case .queued(let id): return .task(id: id, state: .queued)
      case .underWay(let id, let state): return .task(id: id, state: state)
      case .completed(let id, let result, let age):
        guard let identity else { preconditionFailure("task \(id) was found by a digest that it does not have") }
        return .cached(
          cache.promote(
            identity.digest, key: identity.key, result: result, ageSeconds: age, retention: configuration.retention,
            on: reactor))
      }
    } catch {
      throw problem(error, request)
    }
  }

  /// The string to be hashed, from `{"string": "…"}`.
  private static func input(of request: HTTPRequest) throws(Problem) -> [UInt8] {
    // What a page of another site can make a browser send without asking is never JSON by name.
    if let field = request.text(of: .contentType) {
      let type = field.lowercased().prefix { $0 != ";" && $0 != " " && $0 != "\t" }
      guard type == "application/json" || type.hasSuffix("+json") else {
        throw Problem(415, "The body must be JSON: Content-Type: application/json.")
      }
    }
    let input: [UInt8]
    do throws(JSONError) {
      input = try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        var text: [UInt8]?
        try scanner.object(bodyFields) { (scanner, _) throws(JSONError) in text = try scanner.string() }
        return try scanner.required(text, "string")
      }
    } catch {
      throw Problem(error)
    }
    guard input.count <= Limits.stringBytesMax else {
      throw Problem(413, "The string is longer than \(Limits.stringBytesMax) bytes.")
    }
    return input
  }

  private static func cachedResponse(_ hit: ResultCache.Hit) -> HTTPResponse {
    var json = JSONWriter(capacity: hit.result.count + 40)
    json.object { json in
      json.key("result")
      json.raw(hit.result)
      json.field("source", "cache")
    }
    var response = HTTPResponse.json(200, json.bytes)
    response.set("Cache-Status", "millrace; hit; detail=\(hit.level)")
    response.set("Age", String(hit.ageSeconds))
    return response
  }

  private static func queuedResponse(_ kind: HashKind, _ id: Int64, _ state: TaskState) -> HTTPResponse {
    var json = JSONWriter()
    json.object { json in
      json.field("task_id", id)
      json.field("status", state.name)
      json.field("message", "\(kind.displayName) hash calculation \(state.name)")
    }
    var response = HTTPResponse.json(202, json.bytes)
    response.set("Location", "/task/\(id)")
    return response
  }
}
