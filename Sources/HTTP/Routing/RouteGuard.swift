public import Reactor

/// Decides who may call the routes of a router that are not open to anybody.
public protocol RouteGuard: AnyObject {
  /// Returns if the request may be answered, judged by its head; `access` is never `open`.
  /// - Throws: the `Problem` that is the answer if not.
  func check(_ request: HTTPRequest, for access: RouteAccess, on reactor: isolated Reactor) throws(Problem)
}
