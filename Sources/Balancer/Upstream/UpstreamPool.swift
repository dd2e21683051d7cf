import Backends
import Balancing
import Basics
import Reactor

/// A reactor's connections to backends that wait for work, a stack for each backend: the one used last is the least
/// likely to have been closed by the backend.
final class UpstreamPool {
  private var idle: [[HTTP1Link]] = []
  /// Whose each place is now.
  private var owners: [BackendEntry?] = []

  /// Connections that are open, idle or not.
  private(set) var open = 0

  /// A connection was begun.
  func began() { open += 1 }

  /// Connections that were closed since that was last asked.
  private var closedLately = 0

  /// A connection was closed.
  func closed() {
    open -= 1
    closedLately += 1
  }

  /// How many were closed since this was last asked.
  func takeClosed() -> Int {
    defer { closedLately = 0 }
    return closedLately
  }

  /// Sees to it that there may be one more connection; at the bound `most` one that waits for work gives way.
  /// - Returns: whether there is room.
  func makeRoom(_ most: Int, on reactor: isolated Reactor) -> Bool {
    if open < most { return true }
    let oldest = idle.joined().min { $0.idleSince < $1.idleSince }
    guard let oldest else { return false }
    remove(oldest)
    oldest.close(on: reactor)
    return true
  }

  /// The connection to `entry` that was used last, unless it has been unused for so long that the backend may be about
  /// to close it.
  func take(_ entry: BackendEntry, at now: MonotonicTime) -> HTTP1Link? {
    let slot = entry.backend.slot
    guard slot < idle.count else { return nil }
    let usableMs = entry.lifetime.usableMs
    if usableMs != .max, let idleSince = uncounted(idle[slot].last, { $0.idleSince }) {
      let ageMs = now.since(idleSince).milliseconds
      if ageMs >= usableMs {
        entry.lifetime.survived(ageMs)
        return nil
      }
    }
    return idle[slot].popLast()
  }

  /// Keeps `link` for the next request; false if enough are kept already, or its backend is not in the set any more.
  func keep(_ link: HTTP1Link, on reactor: isolated Reactor) -> Bool {
    let slot = link.entry.backend.slot
    guard slot < owners.count, owners[slot] === link.entry, idle[slot].count < BalancerLimits.idlePerBackendMax
    else { return false }
    link.rest(on: reactor)
    link.position = idle[slot].count
    idle[slot].append(link)
    return true
  }

  /// An idle link's backend has closed it, or speaks without having been asked: in both cases it is of no more use.
  func spoke(_ link: HTTP1Link, on reactor: isolated Reactor) {
    if link.pump.peerHasClosed {
      link.entry.lifetime.closed(afterMs: reactor.now.since(link.idleSince).milliseconds)
    }
    remove(link)
    link.close(on: reactor)
  }

  private func remove(_ link: HTTP1Link) {
    let slot = link.entry.backend.slot
    let last = idle[slot].removeLast()
    guard last !== link else { return }
    idle[slot][link.position] = last
    last.position = link.position
  }

  /// Closes what has waited too long, and learns from what is still open. Of more than a few those go sooner that have
  /// waited longest.
  func sweep(on reactor: isolated Reactor) {
    for slot in idle.indices {
      for link in idle[slot].sorted(by: { $0.idleSince < $1.idleSince }) {
        let age = reactor.now.since(link.idleSince)
        link.entry.lifetime.survived(age.milliseconds)
        let isSurplus = idle[slot].count > BalancerLimits.upstreamsKept
        guard age >= (isSurplus ? BalancerLimits.upstreamSurplusIdle : BalancerLimits.upstreamIdle) else { continue }
        remove(link)
        link.close(on: reactor)
      }
    }
  }

  /// Gives the backends of `set` their places, and closes the connections to those that are not in it.
  func retain(_ set: BackendSet, on reactor: isolated Reactor) {
    let slots = (set.entries.map(\.backend.slot).max() ?? -1) + 1
    while idle.count < slots { idle.append([]) }
    owners = Array(repeating: nil, count: idle.count)
    for entry in set.entries { owners[entry.backend.slot] = entry }
    for slot in idle.indices {
      guard let entry = idle[slot].last?.entry, !set.entries.contains(where: { $0 === entry }) else { continue }
      for link in idle[slot] { link.close(on: reactor) }
      idle[slot].removeAll()
    }
  }

  func closeAll(on reactor: isolated Reactor) {
    for slot in idle.indices {
      for link in idle[slot] { link.close(on: reactor) }
      idle[slot].removeAll()
    }
  }
}
