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
  private let polls: PeerPolls
  private let partitions: [Int]
  private let range: KeyRange
  /// Nil for from now on, until the first answer says when that was.
  private var asked: WatchPosition?
  private var answer: PeerPage?
  private let taken = Pause()
  /// What it waits in for an answer.
  private let turn = Pause()
  private var isOver = false
  private var hasFailed = false

  /// News since `position`, nil for from now on.
  init(_ polls: PeerPolls, _ peer: KeyValuePeer, _ partitions: [Int], _ range: KeyRange, _ position: WatchPosition?) {
    (self.polls, self.peer, self.partitions, self.range) = (polls, peer, partitions, range)
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
        let askedAt = reactor.now
        let hasAnswered = await ask(wait: Limits.peerNewsWaitSeconds, within: Limits.peerNewsPatience, on: reactor)
        guard !isOver else { return }
        if !hasAnswered { hasFailed = true }
        if hasFailed || hasMore { pause.end() }
        if hasFailed { return }
        if hasMore { continue }
        // That time has passed is no news.
        _ = take()
        // One that stops says so at once, again and again.
        if reactor.now.since(askedAt) < Limits.peerPause { await reactor.sleep(for: Limits.peerPause) }
      }
    }
  }

  /// Asks no more.
  func end() {
    isOver = true
    taken.end()
    turn.end()
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
    // From now on is for each a moment of its own.
    let page = await polls.page(
      of: partitions, from: peer, at: target, isShared: asked != nil, within: patience, turn: turn, on: reactor)
    guard let page else { return false }
    asked = page.position
    answer = page
    return true
  }
}
