import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// Answers that the balancer gives itself: errors, limits, its own endpoints.
extension ClientConnection {
  /// Answers the request in progress with a problem.
  func answer(_ problem: Problem, closing: Bool, on reactor: isolated Reactor) {
    let log = proxy.shared.log
    if problem.status < 500 {
      log.debug("a request was refused", logFields(problem))
    } else if let suppressed = proxy.problemLines.admit(at: reactor.now) {
      log.warning(
        "a request was not answered by a backend", logFields(problem) + [("suppressed_lines", "\(suppressed)")])
    }
    var response = problem.response(requestID: id.bytes)
    if let decision { setLimitFields(decision, on: &response) }
    answer(response, closing: closing, on: reactor)
  }

  private func logFields(_ problem: Problem) -> [Logger.Field] {
    [
      ("status", "\(problem.status)"), ("reason", problem.detail),
      ("request_id", String(decoding: id.bytes, as: UTF8.self)),
    ]
  }

  /// Answers 429 with the fields of the limit.
  func answerLimited(_ decision: RateLimiter.Decision, on reactor: isolated Reactor) {
    let configuration = proxy.shared.configuration
    let problem = Problem(
      429,
      "More than \(configuration.rateLimitRequests) requests in \(configuration.rateLimitWindowSeconds) s.",
      retryAfterSeconds: decision.resetSeconds)
    // A body that was not read yet would be taken for the next request.
    answer(problem, closing: !bodyRest.isDone, on: reactor)
  }

  private func setLimitFields(_ decision: RateLimiter.Decision, on response: inout HTTPResponse) {
    let configuration = proxy.shared.configuration
    response.set(
      "RateLimit-Policy",
      "\"default\";q=\(configuration.rateLimitRequests);w=\(configuration.rateLimitWindowSeconds)")
    response.set("RateLimit", "\"default\";r=\(decision.remaining);t=\(decision.resetSeconds)")
  }

  /// Answers the request in progress.
  func answer(_ response: HTTPResponse, closing: Bool, on reactor: isolated Reactor) {
    guard phase != .closed else { return }
    if closing { keepsAlive = false }
    let keeps = keepsAlive && bodyRest.isDone && !proxy.isDraining
    var bytes: [UInt8] = []
    response.appendHead(
      to: &bytes, date: proxy.dateLine, requestID: id.bytes, keepsAlive: keeps, minorVersion: minorVersion)
    if case .bytes(let body) = response.body, method != .head, response.status != 204 { bytes += body }
    bytes.withUnsafeBytes { send($0, on: reactor) }
    proxy.shared.metrics.count(status: response.status)
    answered(on: reactor)
  }

  /// A request for the balancer itself has arrived.
  func localArrived(headBytes: Int, on reactor: isolated Reactor) {
    let request = LocalRequest(head: Array(proxy.received.range(0..<headBytes)))
    let invites = proxy.requestHead.expectsContinue && headBytes == proxy.received.count
    local = request
    begin(.local)
    expectBodyOrResponse(on: reactor)
    guard let next = takeBody(from: headBytes) else {
      return answer(Problem(400, "The body's framing is malformed."), closing: true, on: reactor)
    }
    keep(from: next)
    if localBodyGrew(on: reactor) { return }
    if invites {
      let invitation: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"
      send(UnsafeRawBufferPointer(start: invitation.utf8Start, count: invitation.utf8CodeUnitCount), on: reactor)
    }
    if mayHaveInput || !input.isEmpty { receiveBody(on: reactor) }
  }

  /// Runs the local request once its body is whole; whether there is no more to be read of it.
  func localBodyGrew(on reactor: isolated Reactor) -> Bool {
    guard let local else { return true }
    if local.body.count > BalancerLimits.localBodyBytesMax {
      answer(Problem(413, "The body is too large."), closing: true, on: reactor)
      return true
    }
    guard bodyRest.isDone else { return false }
    let request = HTTPRequest(
      headBytes: local.head, body: local.body, id: id.bytes,
      peer: SocketAddress(ip: String(decoding: peer, as: UTF8.self), port: 0) ?? SocketAddress("127.0.0.1:0")!)
    guard let request else { preconditionFailure("a parsed head does not parse again") }
    Task.immediate(executorPreference: reactor.queue) {
      let response = await proxy.admin.answer(request, on: reactor)
      if self.local === local { answer(response, closing: false, on: reactor) }
    }
    return true
  }
}

/// A request for the balancer itself while its body arrives.
final class LocalRequest {
  let head: [UInt8]
  var body: [UInt8] = []

  init(head: [UInt8]) {
    self.head = head
  }

  /// Whether `path` is one of the balancer's own. `/readyz` is, until every backend was seen well; then a backend
  /// answers.
  static func isLocal(path: UnsafeRawBufferPointer, _ shared: BalancerShared) -> Bool {
    if path.count < 2 || begins(path, "/lb/") || equals(path, "/metrics") || equals(path, "/livez") { return true }
    return equals(path, "/readyz") && !shared.uncheckedBackends.isEmpty
  }

  private static func begins(_ path: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    guard path.count >= text.utf8CodeUnitCount else { return false }
    for index in 0..<text.utf8CodeUnitCount where path[index] != text.utf8Start[index] { return false }
    return true
  }

  private static func equals(_ path: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
    path.count == text.utf8CodeUnitCount && begins(path, text)
  }
}

extension BalancerMetrics {
  func count(status: Int) {
    answers[min(max(status / 100, 1), 5) - 1].increment()
  }
}
