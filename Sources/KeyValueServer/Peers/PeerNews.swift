import Basics
import HTTP
import HTTPSyntax
import Reactor
import VersionedStore

/// What happens to keys of a range in partitions of another server, which is asked again and again and answers when
/// there is something. No more than one answer waits to be taken.
final class PeerNews {
  /// Who is asked.
  let peer: KeyValuePeer
  /// How far all that was taken goes.
  private(set) var position: WatchPosition
  private let peers: Peers
  private let partitions: [Int]
  private let range: KeyRange
  /// Nil for from now on, until the first answer says when that was.
  private var asked: WatchPosition?
  private var answer: (events: [WatchedEvent], position: WatchPosition)?
  private let taken = Pause()
  private var isOver = false
  private var hasFailed = false

  /// News since `position`, nil for from now on.
  init(_ peers: Peers, _ peer: KeyValuePeer, _ partitions: [Int], _ range: KeyRange, _ position: WatchPosition?) {
    (self.peers, self.peer, self.partitions, self.range) = (peers, peer, partitions, range)
    asked = position?.part(partitions)
    self.position = asked ?? WatchPosition()
  }

  /// Asks all for the first time, without waiting for anything to happen.
  /// - Returns: who of them has answered.
  static func begin(_ all: [PeerNews], on reactor: isolated Reactor) async -> [Bool] {
    var isThere = Array(repeating: false, count: all.count)
    let tasks = all.enumerated().map { index, news in
      Task.immediate(executorPreference: reactor.queue) {
        isThere[index] = await news.ask(wait: 0, within: Limits.peerListPatience, on: reactor)
        if let answer = news.answer, answer.events.isEmpty { _ = news.take() }
      }
    }
    for task in tasks { await task.value }
    return isThere
  }

  /// Begins to ask, and ends `pause` whenever there is something to be taken.
  func follow(telling pause: Pause, on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      while !isOver {
        if answer != nil { await taken.wait(until: .never, on: reactor) }
        guard !isOver else { return }
        let hasAnswered = await ask(wait: Limits.peerNewsWaitSeconds, within: Limits.peerNewsPatience, on: reactor)
        if !hasAnswered { hasFailed = true }
        if hasFailed || hasMore { pause.end() }
        if hasFailed { return }
        // That time has passed is no news.
        if !hasMore { _ = take() }
      }
    }
  }

  /// Asks no more.
  func end() {
    isOver = true
    taken.end()
  }

  /// Whether there is something to be taken.
  var hasMore: Bool { hasFailed || !(answer?.events.isEmpty ?? true) }

  /// What has come; nil if the server does not answer any more, or does not have the partitions.
  func take() -> [WatchedEvent]? {
    guard let answer = answer.take() else { return hasFailed ? nil : [] }
    position.advance(to: answer.position)
    taken.end()
    return answer.events
  }

  private func ask(wait: Int, within patience: TimeSpan, on reactor: isolated Reactor) async -> Bool {
    var target = Whereabouts.target(partitions, "events") + "?wait=\(wait)"
    target += "&\(Whereabouts.parameter("prefix", range.prefix))"
    if let asked { target += "&\(Whereabouts.parameter("since", Array(asked.text.utf8)))" }
    let answer = await peers.ask(peer, .get, target, within: patience, on: reactor)
    guard let answer, answer.status == 200, let news = PeerNews.read(answer.body, of: partitions) else { return false }
    asked = news.position
    self.answer = news
    return true
  }

  /// Reads events as `WatchedEvent.text` and the last id as the other server has written them; nil for anything else.
  private static func read(
    _ body: [UInt8], of partitions: [Int]
  ) -> (events: [WatchedEvent], position: WatchPosition)? {
    var events: [WatchedEvent] = []
    var last: WatchPosition?
    var (id, name): (WatchPosition?, String?)
    var data: ArraySlice<UInt8>?
    for line in body.split(separator: 0x0A, omittingEmptySubsequences: false) {
      if line.isEmpty {
        guard let place = id else { continue }
        if let name, let data {
          guard let partition = partitions.first(where: { place[$0] != nil }) else { return nil }
          events.append(
            WatchedEvent(partition: partition, revision: place[partition] ?? -1, name: name, data: Array(data)))
        } else {
          last = place
        }
        (id, name, data) = (nil, nil, nil)
        continue
      }
      guard let colon = line.firstIndex(of: UInt8(ascii: ":")) else { return nil }
      let value = line[(colon + 1)...].drop { $0 == 0x20 }
      switch String(decoding: line[..<colon], as: UTF8.self) {
      case "id": id = WatchPosition(String(decoding: value, as: UTF8.self))
      case "event": name = String(decoding: value, as: UTF8.self)
      case "data": data = value
      default: return nil
      }
    }
    return last.map { (events, $0) }
  }
}
