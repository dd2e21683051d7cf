import Basics
import Caching
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

extension APIService {
  private static let bodyFields = JSONFields("string")

  /// `POST /hash/<kind>`
  func submitHash(
    _ kind: TaskKind, _ request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    var input = try APIService.input(of: request)
    defer { if kind.isSecret { SecretBytes.wipe(&input) } }
    let options = try SubmitOptions(request)
    let wait = try WaitPreference(request)
    switch try await answer(kind, input, options, request, on: reactor) {
    case .cached(let hit): return APIService.cachedResponse(hit)
    case .task(let id, let state, let isReplayed):
      if let wait, let task = await waitForEnd(of: id, wait, request, on: reactor), task.state.isTerminal {
        return APIService.marked(wait.applied(to: .json(200, task.json)), isReplayed: isReplayed)
      }
      return APIService.queuedResponse(id, isReplayed: isReplayed) { json in
        json.field("task_id", id)
        json.field("status", state.name)
        json.field("message", "\(kind.displayName) hash calculation \(state.name)")
      }
    }
  }

  /// The string to be hashed, from `{"string": "…"}`.
  private static func input(of request: HTTPRequest) throws(Problem) -> [UInt8] {
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
}
