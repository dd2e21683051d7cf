import Basics
import Reactor
import Telemetry

@testable import VersionedStore

/// One registry for all tests: a process has a bounded number of metrics.
let sharedMetrics = Metrics()

/// An engine without files that takes as long as a test wants: what it reads it reads at some moment while it is waited
/// for, and so it is with what it writes.
final class FakeEngine: StoreEngine {
  var isShared: Bool { false }
  var missing: String? { nil }
  private(set) var model = PartitionModel(maxVersions: 100)
  private(set) var commits: [Int] = []
  private(set) var openings = 0
  private(set) var attempts = 0
  private(set) var isOpen = false
  var failure: StoreError?
  /// Keys whose values are past their time, as long as they have one.
  var due: [StoreKey] = []
  private(set) var looksForDue = 0
  private(set) var looksForNews = 0
  /// How often there will be more to clear away.
  var untidy = 0
  private var random: SeededRandom
  private var isHeld = false
  private var held: [Pause] = []
  /// How many reads were begun.
  private(set) var reads = 0

  init(seed: Int) { random = SeededRandom(seed: UInt64(seed)) }

  /// Whoever comes from now on waits until that is undone.
  func hold() { isHeld = true }
  func release() {
    isHeld = false
    for pause in held { pause.end() }
    held.removeAll()
  }

  private func linger(on reactor: isolated Reactor) async {
    if isHeld {
      let pause = Pause()
      held.append(pause)
      return _ = await pause.wait(until: .never, on: reactor)
    }
    // A pass of the loop, or some.
    for _ in 0..<Int.random(in: 0...3, using: &random) { await reactor.sleep(for: .milliseconds(0)) }
  }

  func open(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Int64 {
    attempts += 1
    await linger(on: reactor)
    if let failure { throw failure }
    openings += 1
    isOpen = true
    return model.revision
  }

  func close(_ partition: Int, on reactor: isolated Reactor) async {
    await linger(on: reactor)
    isOpen = false
  }

  func holders(on reactor: isolated Reactor) async -> [String?] { [isOpen ? "here" : nil] }

  func write(
    _ changes: [Change], to partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (outcomes: [ChangeOutcome], revision: Int64) {
    commits.append(changes.count)
    await linger(on: reactor)
    if let failure { throw failure }
    let outcomes = changes.map { model.apply($0, at: .current()) }
    let revision = model.revision
    await linger(on: reactor)
    return (outcomes, revision)
  }

  func lookUp(
    _ key: StoreKey, version: Int64?, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> Lookup {
    reads += 1
    await linger(on: reactor)
    let found = model.lookUp(key, version: version)
    await linger(on: reactor)
    return found
  }

  func history(
    _ key: StoreKey, before: Int64?, limit: Int, in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [StoredVersion] {
    await linger(on: reactor)
    let all = Array((model.keys[key] ?? []).reversed().prefix(limit))
    await linger(on: reactor)
    return all
  }

  func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> [KeyEntry] { [] }

  func events(
    in range: KeyRange, since: Int64, of partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage {
    looksForNews += 1
    await linger(on: reactor)
    if let failure { throw failure }
    let events = model.keys.flatMap { key, versions in versions.map { StoreEvent(key: key, version: $0) } }
      .filter { $0.version.revision > since }.sorted { $0.version.revision < $1.version.revision }
    return EventPage(events: events, through: model.revision, hasGap: false)
  }

  func expired(
    in partition: Int, on reactor: isolated Reactor
  ) async throws(StoreError) -> (keys: [StoreKey], next: Timestamp?) {
    looksForDue += 1
    await linger(on: reactor)
    if let failure { throw failure }
    return (due, nil)
  }

  func figures(of partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> PartitionFigures {
    PartitionFigures()
  }

  func tidy(_ partition: Int, on reactor: isolated Reactor) async throws(StoreError) -> Bool {
    untidy -= 1
    return untidy > 0
  }
}
