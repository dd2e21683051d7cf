import Basics
import HTTP
import HTTPSyntax
import Reactor
import VersionedStore

/// How a partition comes from one server to another. Nobody decides that for all: whoever sends requests does, by where
/// it sends them, and the servers follow.
///
/// A server takes a partition when it is asked for a key of it. If another one has it, that one is asked to leave it,
/// and does so once it has not been asked for it itself for a tenth of a second: then nobody sends it requests any
/// more. As long as some still do, who does not have it answers 503 and names the one who has; so two senders who
/// disagree on who is alive see that they do, and no partition goes back and forth with each request. One that does not
/// answer, because it is stopped or cut off, keeps its partitions: it may go on at any moment. One that has died has
/// none, for the kernel has freed its locks.
final class Handover {
  private let store: Store
  private let peers: Peers
  private let own: String
  private var waiting: [Int: [Pause]] = [:]

  init(_ store: Store, _ peers: Peers, own: String) {
    (self.store, self.peers, self.own) = (store, peers, own)
  }

  /// Makes a partition this server's, for all who want it at the same time.
  /// - Throws: `StoreError`.
  func take(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) {
    if waiting[partition] != nil {
      let pause = Pause()
      waiting[partition]?.append(pause)
      await pause.wait(until: .never, on: reactor)
      return try await store.open(partition, on: reactor)
    }
    waiting[partition] = []
    defer { for pause in waiting.removeValue(forKey: partition) ?? [] { pause.end() } }
    let deadline = reactor.now + Limits.peerPatience
    while true {
      do throws(StoreError) { return try await store.open(partition, on: reactor) } catch {
        guard case .held(let name) = error, let peer = peers.named(name), reactor.now < deadline else { throw error }
        switch await peers.ask(peer, .post, "/partitions/\(partition)/leave", on: reactor)?.status {
        case 200: continue
        // It is still asked for it by others, or stops: then it takes no connections any more, and is about to leave.
        case 409, nil: await reactor.sleep(for: Limits.peerPause)
        default: throw error
        }
      }
    }
  }
}
