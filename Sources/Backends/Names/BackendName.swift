/// A host name of which every address is a server: of a service under an orchestrator, whose instances come and go.
public struct BackendName: Sendable {
  /// What its servers are called, each with a number behind it: `api-1`, `api-2`.
  public let name: String
  /// What is looked up.
  let host: String
  let port: UInt16
  let weight: Int
  let vouchesForResets: Bool

  private static let scheme = "dns:"

  /// Reads `[NAME=]dns:HOST:PORT[*WEIGHT][?resets=unread]`; without a name the host is the name. Nil for anything else.
  public init?(_ text: String) {
    guard let parts = BackendText(text), parts.place.hasPrefix(BackendName.scheme) else { return nil }
    let place = parts.place.dropFirst(BackendName.scheme.count)
    guard let colon = place.lastIndex(of: ":"), let port = UInt16(place[place.index(after: colon)...]), port > 0 else {
      return nil
    }
    host = String(place[..<colon])
    // RFC 1123 §2.1, and the underscore that names of services have.
    guard 1...253 ~= host.utf8.count, host.utf8.allSatisfy(BackendName.isOfHost) else { return nil }
    name = parts.name ?? host
    self.port = port
    weight = parts.weight
    vouchesForResets = parts.vouchesForResets
  }

  /// Whether `backend` is a name that one of its servers may come to have.
  public func mayName(_ backend: String) -> Bool {
    guard backend.hasPrefix(name + "-") else { return false }
    return Int(backend.dropFirst(name.count + 1)) != nil
  }

  private static func isOfHost(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: "-._".utf8.contains(byte)
    }
  }
}
