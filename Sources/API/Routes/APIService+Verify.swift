import Basics
import HTTP
import HTTPSyntax
import Reactor
import TaskQueue
import Tasks

extension APIService {
  /// `POST /hash/argon2/verify`. It costs as much as making a hash, so workers do it, within their memory; the client
  /// waits for the answer.
  func verifyArgon2(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    try request.requireJSON()
    var verification: Argon2Verification
    do throws(JSONError) { verification = try Argon2Verification(body: request.body) } catch { throw Problem(error) }
    verification.wipe()
    guard verification.memoryBytes <= Argon2Verification.memoryBytesMax(configuration.parameters) else {
      throw Problem(
        422, "The hash costs too much to verify.", errors: [Problem.FieldError("hash", "takes too much memory")])
    }
    guard request.value(of: .idempotencyKey) == nil else {
      throw Problem(400, "A verification takes no Idempotency-Key: it changes nothing.")
    }
    guard clientsWaiting < configuration.waitersMax else {
      throw Problem(503, "Too many clients wait for tasks already.", retryAfterSeconds: 1)
    }
    guard
      case .task(let id, _, _) = try await answer(.argon2verify, request.body, SubmitOptions(), request, on: reactor)
    else {
      preconditionFailure("a verification was answered from a cache")
    }
    let task = await waitForEnd(of: id, WaitPreference(seconds: Limits.waitSecondsMax), request, on: reactor)
    switch task?.state {
    case .completed: return .json(200, task?.result ?? [])
    case .failed, .cancelled: throw Problem(500, "The hash could not be verified.")
    default:
      // Nobody will ask for it by its number.
      do { _ = try await queue.cancel(id, on: reactor) } catch { throw problem(error, request) }
      throw Problem(503, "No worker has had time to verify the hash.", retryAfterSeconds: 5)
    }
  }
}
