import Balancing
public import Reactor

/// What a server is there for.
public enum BackendPurpose: String, Sendable {
  /// Any request: one such server is as good as another.
  case requests
  /// Requests for keys: each server has its own.
  case keys
}

/// A server that requests may be sent to.
public struct BackendAddress: Sendable {
  /// What it is called in logs, metrics and on the hash ring.
  public var name: String
  /// Where it listens.
  public var address: SocketAddress
  /// Its share under the strategy `weighted`, 1 to 256.
  public var weight: Int
  /// Whether a reset on a kept connection proves that this server has not read the request: then also a POST is sent
  /// again. It does of our own instances; of other servers only their operator can know.
  public var vouchesForResets = false
  /// The name that has led to it, nil if it was configured or has joined by itself.
  public internal(set) var origin: String?
  /// What it is there for.
  public var purpose = BackendPurpose.requests

  /// A backend.
  public init(name: String, address: SocketAddress, weight: Int = 1) {
    self.name = name
    self.address = address
    self.weight = weight
  }

  /// Reads `[NAME=]ADDRESS[*WEIGHT][?resets=unread]` with an address as `SocketAddress` reads it:
  /// `api-1=127.0.0.1:8081*2`, `api-1=unix:/run/api-1.sock`. Without a name the address is the name. Nil for anything
  /// else; a host name needs a `Resolver` first.
  public init?(_ text: String) {
    guard let parts = BackendText(text), let address = SocketAddress(parts.place) else { return nil }
    // Nobody listens on port 0, and a relative path means another place wherever it is read.
    guard address.unixPath.map({ $0.hasPrefix("/") }) ?? (address.port > 0) else { return nil }
    self.address = address
    name = parts.name ?? parts.place
    weight = parts.weight
    vouchesForResets = parts.vouchesForResets
  }
}
