import Reactor
import TaskQueue
import Telemetry

/// The tasks that run here and can be broken off: whoever wants one no more says so here, and here they tell how far
/// they are. That is stored once a second, for all of them in one statement.
final class RunningTasks {
  private struct Entry {
    let lease: Int64
    var isUnwanted = false
    var share = 0.0
    var isStored = true
  }

  private let queue: QueueWorker
  private let publisher: ResultPublisher
  private let log: Logger
  private var entries: [Int64: Entry] = [:]
  private var isAbandoned = false
  private var isStoring = false

  init(_ queue: QueueWorker, publisher: ResultPublisher, log: Logger) {
    self.queue = queue
    self.publisher = publisher
    self.log = log
  }

  /// Task `id` begins, and whoever watches it is told.
  func begin(_ id: Int64, lease: Int64, on reactor: isolated Reactor) {
    entries[id] = Entry(lease: lease)
    publisher.announce([id], on: reactor)
  }

  /// It is over.
  func end(_ id: Int64) { entries[id] = nil }

  /// It was cancelled, if it runs here.
  func cancel(_ id: Int64) { entries[id]?.isUnwanted = true }

  /// There is no more time for any of them.
  func abandon() { isAbandoned = true }

  /// Whether nobody wants task `id` any more here.
  func isUnwanted(_ id: Int64) -> Bool { isAbandoned || entries[id]?.isUnwanted ?? true }

  /// `share` of task `id` is done, from 0 to 1.
  func report(_ id: Int64, share: Double, on reactor: isolated Reactor) {
    entries[id]?.share = share
    entries[id]?.isStored = false
    if isStoring { return }
    isStoring = true
    Task.immediate(executorPreference: reactor.queue) {
      await reactor.sleep(for: Limits.progressPause)
      self.isStoring = false
      await self.store(on: reactor)
    }
  }

  private func store(on reactor: isolated Reactor) async {
    let news = entries.filter { !$0.value.isStored }.map { (id: $0.key, lease: $0.value.lease, share: $0.value.share) }
    if news.isEmpty { return }
    for (id, _, _) in news { entries[id]?.isStored = true }
    do {
      try await queue.store(progress: news, on: reactor)
      publisher.announce(news.map(\.id), on: reactor)
    } catch {
      // The next report comes soon, and tells more.
      log.debug("progress was not stored", [("reason", error.message)])
    }
  }
}
