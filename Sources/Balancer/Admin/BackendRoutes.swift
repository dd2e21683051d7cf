import Backends
import Balancing
import Basics
import HTTP
import HTTPSyntax
import Reactor
import Telemetry

/// Backends that come, go and change while the balancer runs. Each call puts another set in the place of the present
/// one, so no request in progress is touched.
enum BackendRoutes {
  private static let newFields = JSONFields("backend")
  private static let changeFields = JSONFields("weight", "state")

  static func add(to router: Router<AdminContext>) {
    router.on(.post, "/lb/backends", .admin, bodyBytesMax: 4096) { (context, request, _) throws(Problem) in
      try join(context.shared, request)
    }
    router.on(.delete, "/lb/backends/{name}", .admin) { (context, request, _) throws(Problem) in
      try leave(context.shared, request.parameter("name"))
    }
    router.on(.patch, "/lb/backends/{name}", .admin, bodyBytesMax: 4096) { (context, request, _) throws(Problem) in
      try change(context.shared, request)
    }
  }

  private static func join(_ shared: BalancerShared, _ request: HTTPRequest) throws(Problem) -> HTTPResponse {
    let text = try read(request, newFields) { (scanner: inout JSONScanner, _, text: inout String?) throws(JSONError) in
      text = String(decoding: try scanner.string(), as: UTF8.self)
    }
    guard let text, let given = BackendAddress(text) else {
      throw Problem(
        422, "A backend is [NAME=]ADDRESS:PORT[*WEIGHT] or [NAME=]unix:/path, an address and no host name.",
        errors: [Problem.FieldError("backend", "it is missing or malformed")])
    }
    var backends = shared.register.backends.given
    guard !backends.contains(where: { $0.name == given.name }) else {
      throw Problem(409, "There is a backend of this name already.")
    }
    guard shared.register.mayKnow(given.name) else {
      throw Problem(409, "This process has known \(Limits.backendsMax) backends, the most that it keeps figures of.")
    }
    guard backends.count < Limits.backendsMax else { throw Problem(409, "There are \(Limits.backendsMax) backends.") }
    backends.append(given)
    shared.register.replaceBackends(by: backends)
    return answer(201, given.name, "joined")
  }

  private static func leave(_ shared: BalancerShared, _ name: String) throws(Problem) -> HTTPResponse {
    var backends = shared.register.backends.given
    guard let index = backends.firstIndex(where: { $0.name == name }) else { throw unknown(shared) }
    if backends[index].purpose == .keys {
      throw Problem(409, "The other servers of keys count on this one as long as it lives: order it to drain.")
    }
    if let origin = backends[index].origin {
      throw Problem(409, "The name '\(origin)' leads to this backend, and would again: order it to drain.")
    }
    backends.remove(at: index)
    shared.register.replaceBackends(by: backends)
    return answer(200, name, "left")
  }

  private static func change(_ shared: BalancerShared, _ request: HTTPRequest) throws(Problem) -> HTTPResponse {
    let name = request.parameter("name")
    guard let entry = shared.register.backends.entries.first(where: { $0.backend.name == name }) else {
      throw unknown(shared)
    }
    let wish = try read(request, changeFields) {
      (scanner: inout JSONScanner, field, wish: inout Wish?) throws(JSONError) in
      var found = wish ?? Wish()
      if field == 0 {
        found.weight = Int(try scanner.integer())
      } else {
        found.state = String(decoding: try scanner.string(), as: UTF8.self)
      }
      wish = found
    }
    guard let wish else {
      throw Problem(
        422, "Nothing is to be changed.", errors: [Problem.FieldError("state", "state or weight is needed")])
    }
    var order: Health.Order?
    switch wish.state {
    case nil: break
    case "ready": order = .ready
    case "drain": order = .drain
    case "down": order = .down
    default: throw Problem(400, "There is no such state; the valid ones are ready, drain, down.")
    }
    if let weight = wish.weight {
      guard Limits.weights.contains(weight) else { throw Problem(400, "A weight is 1 to 256.") }
      var backends = shared.register.backends.given
      for index in backends.indices where backends[index].name == name { backends[index].weight = weight }
      shared.register.replaceBackends(by: backends)
    }
    // A change of weight keeps the backend, so the order is given to the one that requests go to.
    if let order { entry.backend.order(order) }
    shared.log.info(
      "a backend was changed",
      [("backend", name), ("weight", wish.weight.map { "\($0)" } ?? "-"), ("state", wish.state ?? "-")])
    return answer(200, name, wish.state ?? "changed")
  }

  private struct Wish {
    var weight: Int?
    var state: String?
  }

  private static func unknown(_ shared: BalancerShared) -> Problem {
    let names = shared.register.backends.entries.map(\.backend.name).joined(separator: ", ")
    return Problem(404, "There is no such backend; there are \(names).")
  }

  private static func answer(_ status: Int, _ name: String, _ what: String) -> HTTPResponse {
    var json = JSONWriter()
    json.object {
      $0.field("message", "Backend \(name): \(what)")
      $0.field("backend", name)
    }
    return .json(status, json.bytes)
  }

  private static func read<R>(
    _ request: HTTPRequest, _ fields: JSONFields,
    _ take: (inout JSONScanner, Int, inout R?) throws(JSONError) -> Void
  ) throws(Problem) -> R? {
    do throws(JSONError) {
      return try JSONScanner.read(request.body) { (scanner: inout JSONScanner) throws(JSONError) in
        var result: R?
        try scanner.object(fields) { (scanner: inout JSONScanner, field) throws(JSONError) in
          try take(&scanner, field, &result)
        }
        return result
      }
    } catch {
      throw Problem(error)
    }
  }
}
