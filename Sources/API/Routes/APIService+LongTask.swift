import Basics
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

extension APIService {
  /// `POST /longtask`
  func submitLongTask(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    // What is stored is what was sent: it was understood.
    do throws(JSONError) { _ = try LongTask(body: request.body) } catch { throw Problem(error) }
    let options = try SubmitOptions(request)
    let wait = try WaitPreference(request)
    // Two such tasks are two, however alike they are.
    switch try await answer(.longtask, request.body, options, request, on: reactor) {
    case .cached: preconditionFailure("a long task was answered from a cache")
    case .task(let id, let state, let isReplayed):
      if let wait, let task = await waitForEnd(of: id, wait, request, on: reactor), task.state.isTerminal {
        return APIService.marked(wait.applied(to: .json(200, task.json)), isReplayed: isReplayed)
      }
      return APIService.queuedResponse(id, isReplayed: isReplayed) { json in
        json.field("status", "Task \(state.name)")
        json.field("priority", options.priority.name)
        json.field("task_id", id)
        json.field("gateway_id", configuration.instance)
      }
    }
  }
}
