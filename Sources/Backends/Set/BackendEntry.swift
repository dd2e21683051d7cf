public import Balancing
public import Reactor
public import Telemetry

/// A backend as this process knows it: what `Balancing` decides by, and where and how it is reached. It lives on in
/// every set that names the same backend at the same address, and its counters with it.
public final class BackendEntry: Sendable {
  /// What is decided by.
  public let backend: Backend
  /// Where it listens.
  public let address: SocketAddress
  /// The field that names it to clients.
  public let line: [UInt8]
  /// Time to the end of the response.
  public let latency: Histogram
  /// How long it keeps unused connections.
  public let lifetime = IdleLifetime()
  /// Whether a reset proves that nobody read the request: of our own instances, and where an operator says so.
  public let vouchesForResets: Bool
  /// What it is there for.
  public let purpose: BackendPurpose
  /// As it was configured or joined.
  let given: BackendAddress
  /// When it was last checked, milliseconds of the monotonic clock, 0 for never.
  public let lastCheck = SharedMoment()

  init(_ given: BackendAddress, slot: Int, _ plan: BackendPlan, _ metrics: Metrics) {
    backend = Backend(name: given.name, slot: slot, weight: given.weight, inFlightMax: plan.inFlightMax)
    address = given.address
    vouchesForResets = given.vouchesForResets
    purpose = given.purpose
    self.given = given
    line = Array("X-LB-Backend: \(given.name)\r\n".utf8)
    latency = metrics.histogram(
      "\(plan.metricsPrefix)_request_seconds", "From a request's first byte to the end of its answer.",
      [("backend", given.name)])
  }

  /// Whether this is the backend that `other` names, at the same address and trusted in the same way.
  func isFor(_ other: BackendAddress) -> Bool {
    given.name == other.name && given.address == other.address && given.purpose == other.purpose
      && given.vouchesForResets == other.vouchesForResets
  }
}
