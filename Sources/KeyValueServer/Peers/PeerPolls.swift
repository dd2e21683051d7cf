import Basics
import HTTP
import HTTPSyntax
import Reactor

/// What another server has told of what happens to keys: events, and how far all of it goes.
typealias PeerPage = (events: [WatchedEvent], position: WatchPosition)

/// What is asked of other servers' news, once for all who have seen as much of the same keys: after a change that is
/// nearly all who watch, and each for itself they would hold the same values many times, and a connection each. What
/// nobody waits for any more is not asked on: watchers may come and go quicker than there is anything to tell.
final class PeerPolls {
  /// A question that is under way, and who waits for its answer.
  private final class Poll {
    let call = HTTPClientCall()
    var page: PeerPage?
    var isOver = false
    var waiting: [ObjectIdentifier: Pause] = [:]
  }

  private let peers: Peers
  private var underWay: [String: Poll] = [:]
  private var number = 0

  init(_ peers: Peers) {
    self.peers = peers
  }

  /// How many questions are under way.
  var count: Int { underWay.count }

  /// What `peer` answers of `partitions` at `target` within `patience`; nil for anything but that, or once `turn` was
  /// ended because nobody wants to know any more.
  /// - Parameter isShared: whether an answer does that somebody else has asked for already.
  func page(
    of partitions: [Int], from peer: KeyValuePeer, at target: String, isShared: Bool, within patience: TimeSpan,
    turn: Pause, on reactor: isolated Reactor
  ) async -> PeerPage? {
    number += 1
    let name = peer.name + target + (isShared ? "" : "#\(number)")
    let poll = underWay[name] ?? begin(partitions, peer, target, name, patience, on: reactor)
    if poll.isOver { return poll.page }
    poll.waiting[ObjectIdentifier(turn)] = turn
    await turn.wait(until: .never, on: reactor)
    if poll.isOver { return poll.page }
    poll.waiting[ObjectIdentifier(turn)] = nil
    if poll.waiting.isEmpty {
      forget(poll, name)
      poll.call.giveUp()
    }
    return nil
  }

  private func begin(
    _ partitions: [Int], _ peer: KeyValuePeer, _ target: String, _ name: String, _ patience: TimeSpan,
    on reactor: isolated Reactor
  ) -> Poll {
    let poll = Poll()
    underWay[name] = poll
    Task.immediate(executorPreference: reactor.queue) {
      let answer = await peers.ask(peer, .get, target, within: patience, call: poll.call, on: reactor)
      if let answer, answer.status == 200 { poll.page = PeerPolls.read(answer.body, of: partitions) }
      poll.isOver = true
      forget(poll, name)
      for pause in poll.waiting.values { pause.end() }
    }
    return poll
  }

  private func forget(_ poll: Poll, _ name: String) {
    if underWay[name] === poll { underWay[name] = nil }
  }

  /// Reads events as `WatchedEvent.text` and the last id as the other server has written them; nil for anything else,
  /// and for what is of other partitions: their positions are not its to tell, and who came back with them would miss
  /// what has happened there.
  static func read(_ body: [UInt8], of partitions: [Int]) -> PeerPage? {
    var events: [WatchedEvent] = []
    var last: WatchPosition?
    var (id, name): (WatchPosition?, String?)
    var data: ArraySlice<UInt8>?
    for line in body.split(separator: 0x0A, omittingEmptySubsequences: false) {
      if line.isEmpty {
        guard let place = id else { continue }
        if let name, let data {
          guard place.revisions.count == 1, let (partition, revision) = place.revisions.first else { return nil }
          events.append(WatchedEvent(partition: partition, revision: revision, name: name, data: Array(data)))
        } else {
          last = place
        }
        (id, name, data) = (nil, nil, nil)
        continue
      }
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
      let value = line[(colon + 1)...].drop { $0 == 0x20 }
      switch String(decoding: line[..<colon], as: UTF8.self) {
      case "id":
        guard let place = WatchPosition(String(decoding: value, as: UTF8.self)),
          place.revisions.keys.allSatisfy(partitions.contains)
        else { return nil }
        id = place
      case "event": name = String(decoding: value, as: UTF8.self)
      case "data": data = value
      default: return nil
      }
    }
    return last.map { (events, $0) }
  }
}
