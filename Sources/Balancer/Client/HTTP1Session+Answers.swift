import Balancing
import Basics
import Exchange
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// Answers that the balancer gives itself: errors, limits, its own endpoints.
extension HTTP1Session {
  /// Sends the answer that the exchange has asked for.
  func answer(keeping isKept: Bool, on reactor: isolated Reactor) -> Pump.Sent {
    let answer: LocalAnswer
    if let refusal = exchange.refusal {
      let problem = problem(of: refusal)
      log(problem, on: reactor)
      var response = problem.response(requestID: id.bytes)
      if let decision { setLimitFields(decision, on: &response) }
      answer = LocalAnswer(response)
    } else if let given = local?.answer {
      answer = given
    } else {
      preconditionFailure("an answer is to be given and there is none")
    }
    var bytes: [UInt8] = []
    answer.appendHead(
      to: &bytes, date: proxy.dateLine, requestID: id.bytes, keepsAlive: isKept, minorVersion: Int(head.minorVersion))
    if head.method != .head, answer.status != 204 { bytes += answer.body }
    proxy.shared.metrics.count(status: answer.status)
    return bytes.withUnsafeBytes { bytes in
      // Behind it stands the next request: what can be answered at once leaves together.
      guard isKept, !input.isEmpty else { return pump.send(bytes, on: reactor) }
      pump.append(bytes)
      return .all
    }
  }

  private func problem(of refusal: Refusal) -> Problem {
    let configuration = proxy.shared.configuration
    switch refusal {
    case .headMalformed:
      return Problem(proxy.headError.status, "The request was refused: \(proxy.headError.explanation).")
    case .headTimedOut: return Problem(408, "The head of the request took too long.")
    case .limited:
      return Problem(
        429,
        "More than \(configuration.rateLimitRequests) requests in \(configuration.rateLimitWindowSeconds) s.",
        retryAfterSeconds: decision?.resetSeconds)
    case .bodyMalformed: return Problem(400, "The body's framing is malformed.")
    case .bodyTooLarge: return Problem(413, "The body is too large.")
    case .bodyTimedOut: return Problem(408, "The body of the request took too long.")
    case .noBackend: return Problem(503, "No backend is available.", retryAfterSeconds: 1)
    case .outOfResources: return Problem(503, "The balancer is out of resources.", retryAfterSeconds: 1)
    case .backendRefused: return Problem(502, "The backend refused the connection.")
    case .connectTimedOut: return Problem(504, "The connection to the backend took too long.")
    case .backendFailed: return Problem(502, "The backend failed.")
    case .backendMalformed: return Problem(502, "The backend's answer is malformed.")
    case .responseTimedOut: return Problem(504, "The backend took too long to answer.")
    }
  }

  /// What is said to who has asked the balancer itself too often.
  func tooManyOwn(_ decision: RateLimiter.Decision) -> LocalAnswer {
    let problem = Problem(
      429, "More than \(BalancerLimits.ownRequestsMax) requests for the balancer itself in a minute.",
      retryAfterSeconds: decision.resetSeconds)
    return LocalAnswer(problem.response(requestID: id.bytes))
  }

  private func log(_ problem: Problem, on reactor: isolated Reactor) {
    let fields: [Logger.Field] = [
      ("status", "\(problem.status)"), ("reason", problem.detail),
      ("request_id", String(decoding: id.bytes, as: UTF8.self)),
    ]
    let log = proxy.shared.log
    if problem.status < 500 {
      log.debug("a request was refused", fields)
    } else {
      log.warning("a request was not answered by a backend", fields)
    }
  }

  private func setLimitFields(_ decision: RateLimiter.Decision, on response: inout HTTPResponse) {
    let configuration = proxy.shared.configuration
    response.set(
      "RateLimit-Policy",
      "\"default\";q=\(configuration.rateLimitRequests);w=\(configuration.rateLimitWindowSeconds)")
    response.set("RateLimit", "\"default\";r=\(decision.remaining);t=\(decision.resetSeconds)")
  }
}
