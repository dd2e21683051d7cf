import Reactor
import TaskQueue
import Telemetry

/// The tasks that run here and can be broken off: whoever wants one no more says so here, and here they tell how far
/// they are. As long as there are any, that is stored once a second, for all of them in one statement; its answer tells
/// which are still wanted, for the word of a task that was cancelled may have been lost, or have come before the task.
final class RunningTasks {
  private struct Entry {
    let lease: Int64
    var isUnwanted = false
    /// How much is done; nil if nothing new is to be stored.
    var share: Double?
  }

  private let queue: QueueWorker
  private let publisher: ResultPublisher
  private let log: Logger
  private var entries: [Int64: Entry] = [:]
  private var isAbandoned = false
  private var isLooking = false

  init(_ queue: QueueWorker, publisher: ResultPublisher, log: Logger) {
    self.queue = queue
    self.publisher = publisher
    self.log = log
  }

  /// Task `id` begins, and whoever watches it is told.
  func begin(_ id: Int64, lease: Int64, on reactor: isolated Reactor) {
    entries[id] = Entry(lease: lease)
    publisher.announce([id], on: reactor)
    if isLooking { return }
    isLooking = true
    Task.immediate(executorPreference: reactor.queue) { await self.look(on: reactor) }
  }

  /// It is over that was begun under `lease`; by now another attempt of it may run.
  func end(_ id: Int64, lease: Int64) {
    if entries[id]?.lease == lease { entries[id] = nil }
  }

  /// It was cancelled, if it runs here.
  func cancel(_ id: Int64) { entries[id]?.isUnwanted = true }

  /// There is no more time for any of them.
  func abandon() { isAbandoned = true }

  /// Whether nobody wants task `id` any more that was begun under `lease`.
  func isUnwanted(_ id: Int64, lease: Int64) -> Bool {
    guard !isAbandoned, let entry = entries[id], entry.lease == lease else { return true }
    return entry.isUnwanted
  }

  /// `share` of task `id` is done, from 0 to 1.
  func report(_ id: Int64, share: Double) { entries[id]?.share = share }

  /// Stores and looks, once a second, until nothing runs.
  private func look(on reactor: isolated Reactor) async {
    while !entries.isEmpty {
      await reactor.sleep(for: Limits.progressPause)
      let asked = entries
      if asked.isEmpty { break }
      for id in asked.keys { entries[id]?.share = nil }
      do {
        let wanted = try await queue.store(
          progress: asked.map { (id: $0.key, lease: $0.value.lease, share: $0.value.share) }, on: reactor)
        for (id, entry) in asked where !wanted.contains(id) && entries[id]?.lease == entry.lease { cancel(id) }
        let news = asked.filter { $0.value.share != nil }.map(\.key)
        if !news.isEmpty { publisher.announce(news, on: reactor) }
      } catch {
        // The next look comes soon, and the next report tells more.
        log.debug("progress was not stored", [("reason", error.message)])
      }
    }
    isLooking = false
  }
}
