import HTTPSyntax

/// One thing a server does: which requests it is for, and what answers them.
struct Route<Context> {
  /// The method; a route for GET also answers HEAD.
  let method: HTTPMethod
  /// The pattern, as it was given.
  let pattern: String
  /// Who may call it.
  let access: RouteAccess
  /// The largest body it takes.
  let bodyBytesMax: Int
  /// Whether the action reads the body itself.
  let streamsBody: Bool
  let action: Router<Context>.Action
}

/// One segment of the tree of routes.
final class RouteNode {
  /// A place in a pattern that takes whatever stands there.
  struct Parameter {
    let name: String
    /// Whether it takes only digits.
    let isInteger: Bool
    let node: RouteNode
  }

  var literals: [(segment: [UInt8], node: RouteNode)] = []
  var parameters: [Parameter] = []
  /// The routes that end here, by method, as positions in the router's list.
  var routes: [(method: HTTPMethod, index: Int)] = []

  func child(forPattern segment: Substring) -> RouteNode {
    if segment.hasPrefix("{"), segment.hasSuffix("}") {
      let parts = segment.dropFirst().dropLast().split(separator: ":")
      precondition(parts.count == 1 || parts.count == 2 && parts[1] == "int", "a malformed pattern: \(segment)")
      let isInteger = parts.count == 2
      let name = String(parts[0])
      if let known = parameters.first(where: { $0.name == name && $0.isInteger == isInteger }) { return known.node }
      let node = RouteNode()
      parameters.append(Parameter(name: name, isInteger: isInteger, node: node))
      return node
    }
    let bytes = Array(segment.utf8)
    if let known = literals.first(where: { $0.segment == bytes }) { return known.node }
    let node = RouteNode()
    literals.append((bytes, node))
    return node
  }
}
