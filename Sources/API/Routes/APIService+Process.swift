import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

extension APIService {
  /// What a compute service has said.
  struct ServiceAnswer {
    let message: [UInt8]
    let serviceID: [UInt8]

    private static let fields = JSONFields("message", "service_id")

    init(body: [UInt8]) throws(JSONError) {
      (message, serviceID) = try JSONScanner.read(body) { (scanner: inout JSONScanner) throws(JSONError) in
        var (message, serviceID): ([UInt8]?, [UInt8]?)
        try scanner.object(ServiceAnswer.fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
          if field == 0 { message = try scanner.string() } else { serviceID = try scanner.string() }
        }
        return (try scanner.required(message, "message"), try scanner.required(serviceID, "service_id"))
      }
    }
  }

  /// `GET /process`
  func process(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> HTTPResponse {
    let answer = try await askService(request, on: reactor)
    var json = JSONWriter()
    json.object { json in
      json.field("message", answer.message)
      json.field("service_id", answer.serviceID)
      json.field("gateway_id", configuration.instance)
    }
    return .json(200, json.bytes)
  }

  /// Asks a compute service; it learns the request's id, and the trace that it is part of.
  /// - Throws: `Problem` 503 if there is none, 504 if none has answered in time, 502 for what is no answer.
  func askService(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> ServiceAnswer {
    let id = String(decoding: request.id, as: UTF8.self)
    var fields = [(name: "X-Request-Id", value: id)]
    if request.trace != nil, let trace = request.text(of: .traceparent) { fields.append(("traceparent", trace)) }
    let reason: String
    let problem: Problem
    do throws(ComputeServices.Failure) {
      guard let services else { throw .unavailable }
      let response = try await services.get("/process", fields: fields, on: reactor)
      do throws(JSONError) { return try ServiceAnswer(body: response.body) } catch { throw .bad("\(error.reason)") }
    } catch {
      switch error {
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
    }
    log.warning("a compute service was asked in vain", [("request_id", id), ("reason", reason)])
    throw problem
  }
}
