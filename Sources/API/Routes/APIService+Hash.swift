import Basics
import Caching
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

/// Waits for the lookup that another request for the same result has begun.
typealias FlightWaiter = UnsafeContinuation<Void, Never>

extension APIService {
  /// What became of a submission: a result at once, or a task to wait for.
  private enum Answer {
    case cached(ResultCache.Hit)
    case task(id: Int64, state: TaskState)
    /// The client's key stands for another request.
    case conflict
  }

  private static let bodyFields = JSONFields("string")

  /// `POST /hash/<kind>`
  func submitHash(
    _ kind: TaskKind, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    var input = try APIService.input(of: request)
    defer { if kind.isSecret { SecretBytes.wipe(&input) } }
    let wait = try WaitPreference(request)
    switch try await answer(kind, input, request, on: reactor) {
    case .cached(let hit): return APIService.cachedResponse(hit)
    case .task(let id, let state):
      if let wait, let task = await waitForEnd(of: id, wait, request, on: reactor), task.state.isTerminal {
        return wait.applied(to: .json(200, task.json))
      }
      return APIService.queuedResponse(kind, id, state)
    case .conflict: throw Problem(422, "This Idempotency-Key was sent with another request.")
    }
  }

  /// Memory, then Redis, then the statement that finds the result in PostgreSQL or queues the task.
  private func answer(
    _ kind: TaskKind, _ input: [UInt8], _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    guard let identity = await identity(kind, input, on: reactor) else {
      return try await queue(kind, input, nil, request, on: reactor)
    }
    if let hit = cache.inMemory(identity, at: reactor.now) { return .cached(hit) }
    if let hit = await sharedHit(identity, kind, input, on: reactor) { return .cached(hit) }
    return try await queue(kind, input, identity, request, on: reactor)
  }

  /// What the task is known by. A long input is hashed beside the reactor, unless too much is computed there already.
  private func identity(
    _ kind: TaskKind, _ input: [UInt8], on reactor: isolated Reactor
  ) async -> TaskIdentity? {
    if input.count >= Tasks.Limits.bulkyBytes, !kind.isSecret,
      let identity = try? await pool.run(on: reactor, { TaskIdentity(kind, input) })
    {
      return identity
    }
    return TaskIdentity(kind, input)
  }

  /// Looks into Redis, once for all requests that want the same result at the same time.
  private func sharedHit(
    _ identity: TaskIdentity, _ kind: TaskKind, _ input: [UInt8], on reactor: isolated Reactor
  ) async -> ResultCache.Hit? {
    switch flights.join(identity) {
    case .lead:
      let hit = await cache.inRedis(identity, kind, input, on: reactor)
      for waiter in flights.land(identity) { waiter.resume() }
      return hit
    case .follow:
      await withUnsafeContinuation { flights.wait($0, for: identity) }
      return cache.inMemory(identity, at: reactor.now)
    case .refused:
      return nil
    }
  }

  private func queue(
    _ kind: TaskKind, _ input: [UInt8], _ identity: TaskIdentity?, _ request: HTTPRequest,
    on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    let line = kind.line(input.count)
    let key = identity?.key(under: taskKeys)
    let submission = Submission(
      kind: kind.name, lane: Lane(line: line.number, priority: .normal), group: line.slots.group,
      payload: kind.payload(of: input, sealedBy: sealer), isSecret: kind.isSecret,
      key: key.map { TaskKey(high: $0.high, low: $0.low) }, tasksPerWakeUp: line.slots.tasksPerWakeUp,
      maxAttempts: kind.attemptsMax, trace: String(decoding: request.id, as: UTF8.self))
    let generation = cache.generation
    do {
      switch try await queue.submit(submission, on: reactor) {
      case .queued(let id): return .task(id: id, state: .queued)
      case .underWay(let id, let state): return .task(id: id, state: state)
      case .completed(let id, let result, let age):
        guard let identity else { preconditionFailure("task \(id) was found by a key that it does not have") }
        return .cached(
          cache.promote(
            identity, result: result, ageSeconds: age, retention: configuration.retention, askedIn: generation,
            on: reactor))
      case .conflict: return .conflict
      }
    } catch {
      throw problem(error, request, mayBeQueued: true)
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

  private static func queuedResponse(_ kind: TaskKind, _ id: Int64, _ state: TaskState) -> HTTPResponse {
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
