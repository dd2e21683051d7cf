import Basics
import Caching
import HTTP
import HTTPSyntax
import Hashing
import Reactor
import TaskQueue
import Tasks

/// Waits for the lookup that another request for the same result has begun.
typealias FlightWaiter = UnsafeContinuation<Void, Never>

extension APIService {
  /// What became of a submission: a result at once, or a task to wait for.
  enum Answer {
    case cached(ResultCache.Hit)
    /// `isReplayed` if the client has named it before.
    case task(id: Int64, state: TaskState, isReplayed: Bool)
  }

  /// Memory, then Redis, then the statement that finds the result in PostgreSQL or queues the task. A task that the
  /// client names itself, or wants later, is looked for nowhere but under its name.
  func answer(
    _ kind: TaskKind, _ input: [UInt8], _ options: SubmitOptions, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    if let name = options.idempotencyKey {
      let key = TaskKey(taskKeys.words(of: Array("idempotency key:".utf8) + name))
      let fingerprint = TaskKey(await requestCode(request, options, on: reactor))
      return try await queue(kind, input, nil, key, fingerprint, options, request, on: reactor)
    }
    guard options.runAt == nil, let identity = await identity(kind, input, on: reactor) else {
      return try await queue(kind, input, nil, nil, nil, options, request, on: reactor)
    }
    if let hit = cache.inMemory(identity, at: reactor.now) { return .cached(hit) }
    if let hit = await sharedHit(identity, kind, input, on: reactor) { return .cached(hit) }
    let key = TaskKey(identity.key(under: taskKeys))
    return try await queue(kind, input, identity, key, nil, options, request, on: reactor)
  }

  /// What connects a task with its request in its worker's log: the request's id, and that of its trace if it has one.
  private static func trace(of request: HTTPRequest) -> String {
    let id = String(decoding: request.id, as: UTF8.self)
    return request.trace.map { "\(id) \($0.traceID)" } ?? id
  }

  /// The answer that says that a task was queued, with `body` in its JSON.
  static func queuedResponse(
    _ id: Int64, isReplayed: Bool, _ body: (inout JSONWriter) -> Void
  ) -> HTTPResponse {
    var json = JSONWriter()
    json.object(body)
    var response = HTTPResponse.json(202, json.bytes)
    response.set("Location", "/task/\(id)")
    return marked(response, isReplayed: isReplayed)
  }

  /// Says in the answer that the request was sent before.
  static func marked(_ response: HTTPResponse, isReplayed: Bool) -> HTTPResponse {
    var response = response
    if isReplayed { response.set("Idempotency-Replayed", "true") }
    return response
  }

  /// What the request asks for: a code of its path, its options and its body; how long its client would wait is none of
  /// that. A long body is hashed beside the reactor, unless too much is computed there already.
  private func requestCode(
    _ request: HTTPRequest, _ options: SubmitOptions, on reactor: isolated Reactor
  ) async -> (high: UInt64, low: UInt64) {
    let wishes = "?\(options.priority.name)&\(options.runAt?.microseconds ?? 0)&\(options.attemptsMax ?? 0)"
    let target = Array(request.path) + Array(wishes.utf8)
    let body = request.body
    let message = Array("request:".utf8) + SHA256.digest(of: target).bytes
    if body.count >= Tasks.Limits.bulkyBytes,
      let digest = try? await pool.run(on: reactor, { SHA256.digest(of: body).bytes })
    {
      return taskKeys.words(of: message + digest)
    }
    return taskKeys.words(of: message + SHA256.digest(of: body).bytes)
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
    case .lead(let flight):
      let hit = await cache.inRedis(identity, kind, input, on: reactor)
      for waiter in flights.land(flight) { waiter.resume() }
      return hit
    case .follow(let flight):
      await withUnsafeContinuation { flights.wait($0, for: flight) }
      return cache.inMemory(identity, at: reactor.now)
    case .refused:
      return nil
    }
  }

  private func queue(
    _ kind: TaskKind, _ input: [UInt8], _ identity: TaskIdentity?, _ key: TaskKey?, _ fingerprint: TaskKey?,
    _ options: SubmitOptions, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> Answer {
    let line = kind.line(input.count)
    let submission = Submission(
      kind: kind.name, lane: Lane(line: line.number, priority: options.priority), group: line.slots.group,
      payload: kind.payload(of: input, sealedBy: sealer), isSecret: kind.isSecret, key: key, fingerprint: fingerprint,
      runAt: options.runAt, tasksPerWakeUp: line.slots.tasksPerWakeUp, tasksPerPlace: line.slots.tasksPerPlace,
      maxAttempts: options.attemptsMax ?? kind.attemptsMax, trace: APIService.trace(of: request))
    let generation = cache.generation
    let outcome: SubmitOutcome
    do {
      outcome = try await queue.submit(submission, on: reactor)
    } catch {
      throw problem(error, request, mayBeQueued: true)
    }
    switch outcome {
    case .queued(let id): return .task(id: id, state: .queued, isReplayed: false)
    case .underWay(let id, let state): return .task(id: id, state: state, isReplayed: fingerprint != nil)
    case .completed(let id, let result, let age):
      guard let identity else { preconditionFailure("task \(id) was found by a key that it does not have") }
      return .cached(
        cache.promote(
          identity, result: result, ageSeconds: age, retention: configuration.retention, askedIn: generation,
          on: reactor))
    case .conflict:
      throw Problem(
        422, "This Idempotency-Key was sent with another request.",
        errors: [Problem.FieldError("Idempotency-Key", "stands for another request")])
    }
  }
}

extension TaskKey {
  fileprivate init(_ words: (high: UInt64, low: UInt64)) {
    self.init(high: words.high, low: words.low)
  }
}
