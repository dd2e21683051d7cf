import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

extension APIService {
  /// `GET /process`
  func process(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let answer: ServiceAnswer
    do throws(ComputeServices.Failure) {
      guard let services else { throw .unavailable }
      answer = try await services.process(APIService.serviceFields(of: request), on: reactor)
    } catch {
      throw problem(error, request)
    }
    var json = JSONWriter()
    json.object { json in
      json.field("message", answer.message)
      json.field("service_id", answer.serviceID)
      json.field("gateway_id", configuration.instance)
    }
    return .json(200, json.bytes)
  }

  /// What a compute service learns of the request: its id, and the trace that it is part of.
  static func serviceFields(of request: HTTPRequest) -> [(name: String, value: String)] {
    var fields = [(name: "X-Request-Id", value: String(decoding: request.id, as: UTF8.self))]
    if request.trace != nil, let trace = request.text(of: .traceparent) { fields.append(("traceparent", trace)) }
    return fields
  }

  /// What a client is told when no compute service has answered; the log has the reason under the same request id.
  func problem(_ failure: ComputeServices.Failure, _ request: HTTPRequest) -> Problem {
    let reason: String
    let problem: Problem
    switch failure {
    case .unavailable:
      reason = "none can be reached"
      problem = Problem(503, "No compute service can be reached at the moment. Try again.", retryAfterSeconds: 1)
    case .late:
      reason = "none has answered in time"
      problem = Problem(504, "The compute service has not answered in time.")
    case .bad(let text):
      reason = text
      problem = Problem(502, "The compute service has given no answer that can be understood.")
    }
    log.warning(
      "a compute service was asked in vain",
      [("request_id", String(decoding: request.id, as: UTF8.self)), ("reason", reason)])
    return problem
  }
}
