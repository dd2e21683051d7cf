import Basics
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

extension APIService {
  private static let batchFields = JSONFields("algorithm", "strings")

  /// `POST /hash/batch`
  func submitBatch(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    guard request.value(of: .idempotencyKey) == nil else {
      throw Problem(400, "A batch takes no Idempotency-Key: send strings that need one by themselves.")
    }
    let options = try SubmitOptions(request)
    var (kind, inputs) = try APIService.batch(of: request)
    defer { if kind.isSecret { for index in inputs.indices { SecretBytes.wipe(&inputs[index]) } } }
    // All at once: so they meet in the same statements.
    let flights = inputs.map { input in
      Task.immediate(executorPreference: reactor.queue) { () -> Result<Answer, Problem> in
        do throws(Problem) {
          return .success(try await answer(kind, input, options, request, on: reactor))
        } catch {
          return .failure(error)
        }
      }
    }
    var answers: [Result<Answer, Problem>] = []
    for flight in flights { answers.append(await flight.value) }
    // Where nothing was taken the answer is that of a single submission; otherwise each is told how it fared, for what
    // was queued could not be found again by who sends all of it again.
    let refusals = answers.compactMap { if case .failure(let problem) = $0 { problem } else { nil } }
    if refusals.count == answers.count, let first = refusals.first { throw first }
    var json = JSONWriter(capacity: answers.count * 64)
    json.object { json in
      json.key("tasks")
      json.array { json in
        for answer in answers {
          json.object { json in
            switch answer {
            case .success(.cached(let hit)):
              json.key("result")
              json.raw(hit.result)
              json.field("source", "cache")
            case .success(.task(let id, let state, _)):
              json.field("task_id", id)
              json.field("status", state.name)
            case .failure(let problem):
              json.field("status", "refused")
              json.field("error", problem.detail)
            }
          }
        }
      }
    }
    return .json(202, json.bytes)
  }

  private static func batch(of request: HTTPRequest) throws(Problem) -> (kind: TaskKind, inputs: [[UInt8]]) {
    var kind: TaskKind?
    var inputs: [[UInt8]]?
    do throws(JSONError) {
      try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(batchFields) { (scanner, field) throws(JSONError) in
          if field == 0 {
            let name = String(decoding: try scanner.string(), as: UTF8.self)
            kind = TaskKind.hashes.first { $0.name == name }
            if kind == nil { throw scanner.wrongShape("takes md5, sha256 or argon2") }
            return
          }
          var strings: [[UInt8]] = []
          try scanner.array { (scanner) throws(JSONError) in
            strings.append(try scanner.string())
            if strings.count > Limits.batchStringsMax { throw scanner.wrongShape("takes 1 to 1,000 strings") }
          }
          if strings.isEmpty { throw scanner.wrongShape("takes 1 to 1,000 strings") }
          inputs = strings
        }
        _ = try scanner.required(kind?.name, "algorithm")
        _ = try scanner.required(inputs?.count, "strings")
      }
    } catch {
      throw Problem(error)
    }
    guard let kind, let inputs else { preconditionFailure("a batch was read without its fields") }
    guard inputs.allSatisfy({ $0.count <= Limits.stringBytesMax }) else {
      throw Problem(413, "A string is longer than \(Limits.stringBytesMax) bytes.")
    }
    return (kind, inputs)
  }
}
