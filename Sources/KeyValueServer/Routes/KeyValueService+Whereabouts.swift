import HTTP
import Reactor
import Telemetry
import VersionedStore

extension KeyValueService {
  /// Who has `partitions`, of those who are not `silent`: what one has that does not answer may be elsewhere meanwhile.
  /// What one has stays there: two who watch a partition at two servers would have it go back and forth between these,
  /// each ending the other's stream. What nobody has is opened where it stands, and one partition alone here, for
  /// whoever asks for no other one comes here for it.
  /// - Throws: `Problem` 503 if a partition is at somebody who does not answer.
  func whereabouts(
    of partitions: [Int], without silent: Set<String>, for request: HTTPRequest, on reactor: isolated Reactor
  ) async throws(Problem) -> Whereabouts {
    var found = Whereabouts()
    let missing = partitions.filter { !store.holds($0) }
    let holders = missing.isEmpty ? [] : await store.holders(on: reactor)
    let owners =
      partitions.count == 1
      ? Array(repeating: nil, count: store.partitionCount)
      : placement.owners { !silent.contains(placement.servers[$0]) }
    for partition in partitions {
      if store.holds(partition) {
        found.here.append(partition)
      } else if let name = holders[partition] ?? owners[partition].map({ placement.servers[$0] }),
        let peer = peers.named(name), !silent.contains(name)
      {
        found.add(partition, at: peer)
      } else {
        try await hold(partition, for: request, on: reactor)
        found.here.append(partition)
      }
    }
    return found
  }

  /// Writes down who has not answered.
  func note(_ silent: [KeyValuePeer], in all: inout Set<String>) {
    for peer in silent { log.warning("a server of the store does not answer", [("server", peer.name)]) }
    all.formUnion(silent.map(\.name))
  }

  /// Makes a partition this server's if nobody has it.
  /// - Throws: `Problem` 503 if somebody does.
  func hold(_ partition: Int, for request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) {
    if store.holds(partition) { return }
    if isStopping { throw unavailable("This server stops.", "this server stops", request) }
    do throws(StoreError) { try await store.openForLook(partition, on: reactor) } catch {
      throw problem(error, request)
    }
  }

  /// The partitions that another server asks this one for.
  /// - Throws: `Problem` 404 if there are none such, 503 if this server cannot have them.
  func askedPartitions(_ request: HTTPRequest, on reactor: isolated Reactor) async throws(Problem) -> [Int] {
    let partitions = request.parameter("numbers").split(separator: ",", omittingEmptySubsequences: false).map {
      Int($0).flatMap { 0..<store.partitionCount ~= $0 ? $0 : nil }
    }
    let known = partitions.compactMap { $0 }
    guard known.count == partitions.count, Set(known).count == known.count else {
      throw Problem(404, "There are no such partitions.")
    }
    for partition in known { try await hold(partition, for: request, on: reactor) }
    return known
  }
}
