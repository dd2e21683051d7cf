import Glibc
import Reactor

/// The servers that a name leads to, by number. A number is free again when its server has left, so there are never
/// more of them than there were servers at a time: figures are kept by name, and the places on a hash ring are drawn by
/// it, so that whoever comes for one that has gone takes over its keys.
struct NameMembers {
  /// What an answer has changed.
  struct Change: Equatable {
    var joined: [String] = []
    var left: [String] = []
    /// Addresses for which there is no number.
    var refused = 0
  }

  private let name: BackendName
  private let most: Int
  private var members: [Int: SocketAddress] = [:]

  /// Nobody yet, and never more than `most`.
  init(_ name: BackendName, most: Int = BackendLimits.addressesPerNameMax) {
    self.name = name
    self.most = most
  }

  /// The name has `addresses` now; nil if these are those that it had. Of a server with addresses of both families the
  /// IPv4 one counts: it would get twice its share.
  mutating func lookedUp(_ addresses: [SocketAddress]) -> Change? {
    let four = addresses.filter { $0.family == AF_INET }
    var found: [SocketAddress] = []
    for address in (four.isEmpty ? addresses : four).sorted(by: { $0.description < $1.description })
    where !found.contains(address) { found.append(address) }
    var change = Change()
    for (number, address) in members.sorted(by: { $0.key < $1.key }) where !found.contains(address) {
      members[number] = nil
      change.left.append(address.description)
    }
    for address in found where !members.values.contains(address) {
      guard members.count < most, let number = (1...).first(where: { members[$0] == nil }) else {
        change.refused += 1
        continue
      }
      members[number] = address
      change.joined.append(address.description)
    }
    return change.joined.isEmpty && change.left.isEmpty ? nil : change
  }

  /// The servers, by number.
  var backends: [BackendAddress] {
    members.sorted { $0.key < $1.key }.map { number, address in
      var backend = BackendAddress(
        name: "\(name.name)-\(number)", address: address, weight: name.weight)
      backend.vouchesForResets = name.vouchesForResets
      backend.origin = name.name
      return backend
    }
  }
}
