import Basics
import Reactor

/// What those who watch one partition are told of, read once for all who have seen as much of the same keys. After a
/// change that is nearly all of them: each for itself they would keep other reads from the file, and hold the same
/// values many times.
final class NewsDesk {
  struct Look: Hashable {
    fileprivate let prefix: [UInt8]
    fileprivate let since: Int64
  }

  /// Somebody reads, and others wait for what it is.
  final class Reading {
    fileprivate let look: Look
    fileprivate var result: Result<EventPage, StoreError>?
    fileprivate var waiting: [Pause] = []

    fileprivate init(_ look: Look) { self.look = look }
  }

  private var underWay: [Look: Reading] = [:]
  /// What was found last: what has happened stays so, until others may have written.
  private var last: (look: Look, page: EventPage)?

  /// What has happened to keys of `range` since a revision if that is known, or is being read; else nil, and whoever
  /// asks has to read it.
  func page(
    of range: KeyRange, since: Int64, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage? {
    let look = Look(prefix: range.prefix, since: since)
    if let last, last.look == look { return last.page }
    guard let reading = underWay[look] else { return nil }
    let pause = Pause()
    reading.waiting.append(pause)
    await pause.wait(until: .never, on: reactor)
    return try reading.result?.get()
  }

  /// Somebody reads that.
  func began(_ range: KeyRange, since: Int64) -> Reading {
    let reading = Reading(Look(prefix: range.prefix, since: since))
    underWay[reading.look] = reading
    return reading
  }

  /// That is what it was.
  func ended(_ reading: Reading, _ result: Result<EventPage, StoreError>) {
    if underWay[reading.look] === reading { underWay[reading.look] = nil }
    reading.result = result
    for pause in reading.waiting { pause.end() }
    if case .success(let page) = result, !page.events.isEmpty, !page.hasGap { last = (reading.look, page) }
  }

  /// Nobody watches any more, or others may write.
  func clear() { last = nil }
}
