import Basics
import Glibc
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// The balancer's own endpoints and health checks, on a reactor of their own: however busy the others are, they do not
/// fail their own checks, and whoever looks at the metrics keeps nobody waiting.
final class Operations: Sendable {
  private struct Asked: Sendable {
    let question: LocalQuestion
    let reply: UnsafeContinuation<LocalAnswer, Never>
  }

  private let questions: AsyncStream<Asked>
  private let feed: AsyncStream<Asked>.Continuation

  init() {
    (questions, feed) = AsyncStream.makeStream(of: Asked.self)
  }

  /// The answer to a request for the balancer itself.
  func answer(_ question: LocalQuestion) async -> LocalAnswer {
    await withUnsafeContinuation { reply in feed.yield(Asked(question: question, reply: reply)) }
  }

  /// No more questions come: `serve` ends when those that came are answered.
  func finish() {
    feed.finish()
  }

  /// Answers questions until `finish`.
  func serve(_ shared: BalancerShared, on reactor: isolated Reactor) async {
    let router = AdminRoutes.router(AdminContext(shared))
    for await asked in questions {
      Task.immediate(executorPreference: reactor.queue) {
        let response = await Operations.answer(asked.question, router, on: reactor)
        if let reason = response.reason {
          shared.log.debug(
            "a request was refused",
            [
              ("status", "\(response.status)"), ("reason", reason),
              ("request_id", String(decoding: asked.question.id, as: UTF8.self)),
            ])
        }
        asked.reply.resume(returning: LocalAnswer(response))
      }
    }
  }

  private static func answer(
    _ question: LocalQuestion, _ router: Router<AdminContext>, on reactor: isolated Reactor
  ) async -> HTTPResponse {
    let peer = SocketAddress(ip: question.peer, port: 0) ?? SocketAddress("127.0.0.1:0")!
    let request = HTTPRequest(headBytes: question.head, body: question.body, id: question.id, peer: peer)
    guard let request else { preconditionFailure("a parsed head does not parse again") }
    switch request.method {
    case .trace: return reflection(of: request)
    case .options where request.value(of: .maxForwards) != nil:
      var response = HTTPResponse(204)
      response.set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS, TRACE")
      return response
    default: return await router.answer(request, on: reactor)
    }
  }

  /// The request as it was received, without what proves who sent it (RFC 9110 §9.3.8).
  private static func reflection(of request: HTTPRequest) -> HTTPResponse {
    let head = request.head
    var bytes = Array(request.headBytes[..<(head.fieldCount > 0 ? head[0].name.lowerBound : request.headBytes.count)])
    for index in 0..<head.fieldCount {
      let field = head[index]
      guard ![.authorization, .proxyAuthorization, .cookie].contains(field.known) else { continue }
      bytes += request.headBytes[field.name] + Array(": ".utf8) + request.headBytes[field.value] + [0x0D, 0x0A]
    }
    return HTTPResponse(200, "message/http", bytes + [0x0D, 0x0A])
  }
}
