public import HTTPSyntax
public import Reactor

/// Finds the route of a request and has it answered; says 404, 405 with `Allow`, and answers OPTIONS by itself.
///
/// Patterns are literal segments and parameters: `/task/{id:int}/events`, `/data/{key}`. A literal wins over a
/// parameter. A parameter takes one segment, decoded, that is not empty; `:int` takes up to 18 digits only.
///
/// Each route says who may call it, and there is no default. Whoever may not is refused by the head alone: no body is
/// read of somebody who is not let in.
///
/// Actions do not capture what they work on: it is the router's context, handed to each of them. So it may be plain
/// state of the reactor, and the compiler can see that nobody else touches it.
public final class Router<Context>: HTTPHandler {
  /// Answers a request whose body has arrived. A `Problem` that it throws becomes the answer.
  public typealias Action = (Context, HTTPRequest, isolated Reactor) async throws(Problem) -> HTTPResponse

  private let context: Context
  private let door: (any RouteGuard)?
  private let root = RouteNode()
  private var routes: [Route<Context>] = []

  /// A router without routes, whose actions work on `context`; `door` decides who may call those that are not open.
  public init(_ context: Context, door: (any RouteGuard)? = nil) {
    self.context = context
    self.door = door
  }

  /// Every route there is, in the order in which they were added.
  public var table: [(method: HTTPMethod, pattern: String, access: RouteAccess)] {
    routes.map { ($0.method, $0.pattern, $0.access) }
  }

  /// Has `action` answer requests of `method` for `pattern` by those who have `access`. With `streamsBody` it is called
  /// as soon as the head is there and reads the body itself, with the request's `bodyReader`.
  public func on(
    _ method: HTTPMethod, _ pattern: String, _ access: RouteAccess, bodyBytesMax: Int = HTTPLimits.bodyBytesMax,
    streamsBody: Bool = false, _ action: @escaping Action
  ) {
    precondition(pattern.hasPrefix("/"), "a pattern begins with a slash: \(pattern)")
    precondition(access == .open || door != nil, "nobody watches over \(pattern)")
    var node = root
    for segment in pattern.split(separator: "/", omittingEmptySubsequences: false).dropFirst() {
      node = node.child(forPattern: segment)
    }
    precondition(!node.routes.contains { $0.method == method }, "two routes for \(method.name) \(pattern)")
    node.routes.append((method, routes.count))
    routes.append(
      Route(
        method: method, pattern: pattern, access: access, bodyBytesMax: bodyBytesMax, streamsBody: streamsBody,
        action: action))
  }

  /// Finds the route from the head alone.
  public func admit(_ request: HTTPRequest, on reactor: isolated Reactor) -> HTTPAdmission {
    request.parameters.removeAll(keepingCapacity: true)
    if request.path.elementsEqual([UInt8(ascii: "*")]) { return .refuse(allowing("GET, HEAD, POST, OPTIONS")) }
    let node: RouteNode
    do throws(Problem) {
      // An empty path is that of an absolute-form target without one, and means the root.
      let start = request.path.isEmpty ? request.path.endIndex : request.path.startIndex + 1
      guard let found = try find(root, request, from: start) else {
        return .refuse(request.answer(Problem(404, "There is nothing at this path.")))
      }
      node = found
    } catch {
      return .refuse(request.answer(error))
    }
    let wanted: HTTPMethod = request.method == .head ? .get : request.method
    if let route = node.routes.first(where: { $0.method == wanted }) {
      request.route = route.index
      let found = routes[route.index]
      if found.access != .open, let problem = refusal(of: request, by: found.access, on: reactor) {
        return .refuse(request.answer(problem))
      }
      if Router.isCoded(request) {
        // Says also which coding would do (RFC 9110 §15.5.16, §12.5.3).
        var response = request.answer(Problem(415, "The body must not be coded: send it without Content-Encoding."))
        response.set("Accept-Encoding", "identity")
        return .refuse(response)
      }
      return found.streamsBody ? .stream(bytesMax: found.bodyBytesMax) : .body(bytesMax: found.bodyBytesMax)
    }
    let allowed = Router.allowed(node)
    if request.method == .options { return .refuse(allowing(allowed)) }
    var response = request.answer(Problem(405, "This path takes only \(allowed)."))
    response.set("Allow", allowed)
    return .refuse(response)
  }

  /// Runs the route that `admit` found.
  public func respond(to request: HTTPRequest, on reactor: isolated Reactor) async -> HTTPResponse {
    guard let route = request.route else { preconditionFailure("a request was answered without being admitted") }
    do throws(Problem) {
      return try await routes[route].action(context, request, reactor)
    } catch {
      return request.answer(error)
    }
  }

  private func refusal(of request: HTTPRequest, by access: RouteAccess, on reactor: isolated Reactor) -> Problem? {
    guard let door else { preconditionFailure("a guarded route without a guard") }
    do throws(Problem) {
      try door.check(request, for: access, on: reactor)
      return nil
    } catch {
      return error
    }
  }

  /// Whether the body would have to be decoded before it means anything (RFC 9110 §8.4).
  private static func isCoded(_ request: HTTPRequest) -> Bool {
    guard let coding = request.text(of: .contentEncoding), request.head.framing != .none else { return false }
    return !coding.isEmpty && coding.lowercased() != "identity"
  }

  private func allowing(_ methods: String) -> HTTPResponse {
    var response = HTTPResponse(204)
    response.set("Allow", methods)
    return response
  }

  private static func allowed(_ node: RouteNode) -> String {
    var names = node.routes.map(\.method.name.description)
    if names.contains("GET") { names.append("HEAD") }
    names.append("OPTIONS")
    return names.joined(separator: ", ")
  }

  /// The node for the rest of the path, whose next segment begins at `start`; nil if there is none with routes.
  private func find(_ node: RouteNode, _ request: HTTPRequest, from start: Int) throws(Problem) -> RouteNode? {
    let path = request.headBytes
    let pathEnd = request.head.path.upperBound
    var end = start
    while end < pathEnd, path[end] != UInt8(ascii: "/") { end += 1 }
    let segment = path[start..<end]
    for (literal, child) in node.literals where segment.elementsEqual(literal) {
      if let found = try descend(child, request, from: end) { return found }
    }
    for parameter in node.parameters where !segment.isEmpty {
      if parameter.isInteger {
        guard segment.count <= 18, segment.allSatisfy({ 0x30...0x39 ~= $0 }) else { continue }
      }
      let value: String
      do throws(EscapeError) {
        value = try percentDecoded(Array(segment).span)
      } catch {
        throw Problem(400, "The path holds an escape that is not valid.")
      }
      request.parameters.append((parameter.name, value))
      if let found = try descend(parameter.node, request, from: end) { return found }
      request.parameters.removeLast()
    }
    return nil
  }

  private func descend(_ node: RouteNode, _ request: HTTPRequest, from end: Int) throws(Problem) -> RouteNode? {
    if end < request.head.path.upperBound { return try find(node, request, from: end + 1) }
    return node.routes.isEmpty ? nil : node
  }
}
