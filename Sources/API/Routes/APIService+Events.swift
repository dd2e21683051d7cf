import Basics
import HTTP
import HTTPSyntax
import Reactor
import Redis
import Roles
import TaskQueue
import Tasks
import Telemetry

extension APIService {
  /// `POST /task/{id}/cancel`
  func cancelTask(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let id = Int64(request.integer("id"))
    // There is no body that would have to be JSON, so a page of another site can have a browser send this.
    if request.isFromForeignPage { throw Problem(403, "Pages of other sites may not cancel tasks.") }
    let hasEnded: Bool
    let task: TaskRecord?
    do {
      hasEnded = try await queue.cancel(id, on: reactor)
      if hasEnded { tellOthers(of: id, on: reactor) }
      task = try await queue.task(id, on: reactor)
    } catch {
      throw problem(error, request)
    }
    guard let task else { throw Problem(404, "There is no task \(id).") }
    guard hasEnded else { throw Problem(409, "Task \(id) is over: it is \(task.state.name).") }
    return .json(200, task.json)
  }

  /// Whoever waits for task `id`, here or elsewhere, is told that it is over.
  private func tellOthers(of id: Int64, on reactor: isolated Reactor) {
    board.completed([id])
    guard let redis else { return }
    Task.immediate(executorPreference: reactor.queue) {
      do {
        try await redis.publish(RedisNames.message(of: [id]), to: Array(RedisNames.doneChannel.utf8), on: reactor)
      } catch {
        log.debug("others were not told of a cancelled task", [("reason", "\(error)")])
      }
    }
  }

  /// `GET /task/{id}/events`
  func watchTask(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let id = Int64(request.integer("id"))
    guard clientsWaiting < configuration.waitersMax else {
      throw Problem(503, "Too many clients wait for tasks already.", retryAfterSeconds: 1)
    }
    // Also while it looks for the first time: after an outage all of them do.
    clientsWaiting += 1
    defer { clientsWaiting -= 1 }
    let task: TaskRecord?
    do { task = try await queue.task(id, on: reactor) } catch { throw problem(error, request) }
    guard let task else { throw Problem(404, "There is no task \(id).") }
    // There is nothing more to come, and who is told so does not come again (HTML Standard §9.2.3).
    if task.state.isTerminal, request.text(of: .lastEventID) == task.eventID { return HTTPResponse(204) }
    var response = HTTPResponse(200, "text/event-stream", streaming: TaskEvents(self, task, request))
    response.set("Cache-Control", "no-store")
    return response
  }
}

/// What happens to a task, as server-sent events (HTML Standard §9.2): how it is, whenever that changes, until it is
/// over. An event's id says what has been seen, so whoever comes back with it hears of the next change only.
final class TaskEvents: HTTPBodySource {
  private let service: APIService
  private let request: HTTPRequest
  private var task: TaskRecord
  private var seen: String?

  init(_ service: APIService, _ task: TaskRecord, _ request: HTTPRequest) {
    self.service = service
    self.request = request
    self.task = task
    seen = request.text(of: .lastEventID)
  }

  /// Writes events until the task is over, the client goes, or the process stops.
  func write(to writer: HTTPBodyWriter, on reactor: isolated Reactor) async {
    service.clientsWaiting += 1
    defer { service.clientsWaiting -= 1 }
    var moment = 0
    var wroteAt = reactor.now
    var patience = Limits.blindCheck
    while true {
      if task.eventID != seen {
        guard await writer.write(TaskEvents.event(of: task), on: reactor) else { return }
        seen = task.eventID
        wroteAt = reactor.now
        patience = Limits.blindCheck
      }
      if task.state.isTerminal || service.board.isEnded(request) { return }
      // News comes over Redis; the truth is in PostgreSQL, and is asked more and more seldom in case news was lost.
      let pause = service.board.hasNews ? patience : Limits.blindCheck
      patience = min(TimeSpan(nanoseconds: patience.nanoseconds * 2), Limits.eventsCheckMax)
      let comment = wroteAt + Limits.eventsComment
      let look = reactor.now + pause
      let isTold = await service.board.wait(
        for: task.id, since: moment, request, until: min(look, comment), on: reactor)
      moment = service.board.moment
      if service.board.isEnded(request) { return }
      if reactor.now.since(wroteAt) >= Limits.eventsComment {
        guard await writer.write(Array(":\n\n".utf8), on: reactor) else { return }
        wroteAt = reactor.now
        if !isTold, reactor.now < look { continue }
      }
      do {
        guard let now = try await service.queue.task(task.id, on: reactor) else { return }
        task = now
      } catch {
        service.log.debug(
          "a look at a task failed, its client watches on",
          [("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", "\(error)")])
      }
    }
  }

  private static func event(of task: TaskRecord) -> [UInt8] {
    Array("id: \(task.eventID)\nevent: status\ndata: ".utf8) + task.json + Array("\n\n".utf8)
  }
}

extension TaskRecord {
  /// The same as long as nothing has happened.
  fileprivate var eventID: String {
    "\(id)-\(attempts)-\(state.name)-\(Int((progress ?? 0) * 1000))"
  }
}
