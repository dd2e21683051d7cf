import Basics
import HTTP
import Reactor
import TaskQueue
import Tasks
import Telemetry

extension APIService {
  /// `GET /task/{id}`
  func showTask(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let id = Int64(request.integer("id"))
    let wait = try WaitPreference(request)
    guard let task = try await task(id, request, on: reactor) else {
      throw Problem(404, "There is no task \(id).")
    }
    guard let wait else { return .json(200, task.json) }
    let last = task.state.isTerminal ? task : await waitForEnd(of: id, wait, request, on: reactor)
    return wait.applied(to: .json(200, (last ?? task).json))
  }

  /// Waits until task `id` is over, and returns it as it was seen last: nil if it was not seen, because there was no
  /// time, too many clients wait already, the process stops, or the client has ended its side. The task is safe and
  /// known to the client whatever happens here, so a look that fails is no error: it is a look that found nothing.
  func waitForEnd(
    of id: Int64, _ wait: WaitPreference, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async -> TaskRecord? {
    guard clientsWaiting < configuration.waitersMax else { return nil }
    // Also while it looks for itself: after an outage all of them do.
    clientsWaiting += 1
    defer { clientsWaiting -= 1 }
    let deadline = reactor.now + .seconds(UInt64(wait.seconds))
    var patience = Limits.blindCheck
    var moment = 0
    var last: TaskRecord?
    while true {
      // News comes over Redis; the truth is in PostgreSQL, and is asked more and more seldom in case news was lost.
      let pause = board.hasNews ? patience : Limits.blindCheck
      patience = min(TimeSpan(nanoseconds: patience.nanoseconds * 2), Limits.safetyCheckMax)
      // What is remembered is believed once, for it may be about another system's task of the same number; but news
      // that comes during the look is news.
      _ = await board.wait(for: id, since: moment, request, until: min(deadline, reactor.now + pause), on: reactor)
      moment = board.moment
      // What was seen last has to do: neither a stop nor a crowd that leaves waits for PostgreSQL.
      if board.isEnded(request) { return last }
      do {
        last = try await queue.task(id, on: reactor) ?? last
        if let last, last.state.isTerminal { return last }
      } catch {
        log.debug(
          "a look at a task failed, its client waits on",
          [("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", "\(error)")])
      }
      if reactor.now >= deadline { return last }
    }
  }

  private func task(
    _ id: Int64, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> TaskRecord? {
    do { return try await queue.task(id, on: reactor) } catch { throw problem(error, request) }
  }

  /// `GET /tasks?status=&type=&limit=&cursor=`
  func listTasks(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    var state: TaskState?
    if let name = try request.query("status") {
      guard let known = TaskState(name: name) else {
        let names = TaskState.allCases.map(\.name).joined(separator: ", ")
        throw Problem(
          400, "The query parameter status takes one of: \(names).",
          errors: [Problem.FieldError("status", "is none of: \(names)")])
      }
      state = known
    }
    let kind = try request.query("type")
    if let kind, TaskKind.named(kind) == nil {
      let names = TaskKind.all.map(\.name).joined(separator: ", ")
      throw Problem(
        400, "The query parameter type takes one of: \(names).",
        errors: [Problem.FieldError("type", "is none of: \(names)")])
    }
    return try await list("/tasks", state: state, kinds: kind.map { [$0] }, request, on: reactor)
  }

  /// `GET /hashes?limit=&cursor=`: completed results.
  func listHashes(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try await list("/hashes", state: .completed, kinds: TaskKind.hashes.map(\.name), request, on: reactor)
  }

  private func list(
    _ path: String, state: TaskState?, kinds: [String]?, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    let limit = try APIService.positive("limit", request) ?? 50
    let cursor = try APIService.positive("cursor", request)
    let page: (tasks: [TaskRecord], next: Int64?)
    do {
      page = try await queue.page(
        before: cursor, state: state, kinds: kinds, limit: Int(min(limit, Int64(Int32.max))), on: reactor)
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter(capacity: 4096)
    json.object { json in
      json.key("items")
      json.array { json in
        for task in page.tasks { json.raw(task.json) }
      }
      json.field("next_cursor", page.next.map(String.init))
    }
    var response = HTTPResponse.json(200, json.bytes)
    if let next = page.next {
      var link = "<\(path)?limit=\(limit)&cursor=\(next)"
      if path == "/tasks" {
        if let state { link += "&status=\(state.name)" }
        if let kind = kinds?.first { link += "&type=\(kind)" }
      }
      response.set("Link", link + ">; rel=\"next\"")
    }
    return response
  }

  private static func positive(_ name: StaticString, _ request: HTTPRequest) throws(Problem) -> Int64? {
    guard let text = try request.query(name) else { return nil }
    guard let number = Int64(text), number > 0 else {
      throw Problem(
        400, "The query parameter \(name) takes a whole number above 0.",
        errors: [Problem.FieldError("\(name)", "is not a whole number above 0")])
    }
    return number
  }
}
