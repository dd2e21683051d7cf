import Basics
import Reactor
import Telemetry

/// A partition as its server sees it: opened when it is first asked for, changes of one loop pass in one commit, values
/// from memory, and whoever waits for news of it.
///
///     changes of a pass ──► one commit ─────────► answers
///     changes meanwhile ─────► wait ──► the next commit
///
/// So nobody waits for a commit longer than for the one before it, and under load hundreds share one.
final class Partition: EventHandler {
  private typealias Waiter = UnsafeContinuation<Result<ChangeOutcome, StoreError>, Never>

  let number: Int
  private let engine: any StoreEngine
  private let cache: ValueCache
  private let terms: Terms
  private let metrics: PartitionMetrics
  /// Which opening of which partition of the process it is; 0 while it is not open.
  private var term: UInt64 = 0
  /// The newest revision that was acknowledged here.
  private(set) var revision: Int64 = 0
  /// When it was last asked for anything, or had answered it.
  private var usedAt = MonotonicTime(nanoseconds: 0)
  private var isOpening = false
  /// Why it could not be opened last, and when that is tried again.
  private var lastFault: StoreError?
  private var mayOpenAt = MonotonicTime(nanoseconds: 0)
  private var awaitingTurn: [Pause] = []
  private var isLeaving = false

  private var pending = RingQueue<(change: Change, waiter: Waiter)>()
  private var pendingBytes = 0
  private var isWriting = false {
    didSet { tellIfIdle() }
  }
  /// Keys of the commit that is under way.
  private var changing: Set<StoreKey> = []
  private var usesInProgress = 0 {
    didSet { tellIfIdle() }
  }
  /// How many of these are looks.
  private var looksInProgress = 0
  private let idle = Pause()

  private var watchers: [ObjectIdentifier: Pause] = [:]
  private let news = NewsDesk()
  private lazy var newsTimer = ReactorTimer(self)
  private lazy var expiryTimer = ReactorTimer(self)
  private var expiryDeadline = MonotonicTime.never
  private var tidiedAt = MonotonicTime(nanoseconds: 0)

  /// Numbers for openings.
  final class Terms {
    private var last: UInt64 = 0
    var next: UInt64 {
      last += 1
      return last
    }
  }

  init(
    _ number: Int, _ engine: any StoreEngine, _ cache: ValueCache, _ terms: Terms, _ metrics: PartitionMetrics
  ) {
    (self.number, self.engine, self.cache, self.terms) = (number, engine, cache, terms)
    self.metrics = metrics
  }

  var isOpen: Bool { term != 0 && !isLeaving }

  /// Whether nothing but looks was asked of it, or under way, within `span`; always for a span of nothing.
  func isUnused(for span: TimeSpan, at now: MonotonicTime) -> Bool {
    span.nanoseconds == 0 || !isWriting && usesInProgress == looksInProgress && now.since(usedAt) >= span
  }

  // MARK: Opening and leaving

  func open(on reactor: isolated Reactor) async throws(StoreError) {
    usedAt = reactor.now
    while !isOpen {
      if isOpening || isLeaving {
        await turn(on: reactor)
        continue
      }
      if let lastFault, reactor.now < mayOpenAt { throw lastFault }
      isOpening = true
      defer { endOpening() }
      do throws(StoreError) {
        revision = try await engine.open(number, on: reactor)
        lastFault = nil
      } catch {
        // A file that is damaged takes long to be found so: those who wait are told the same.
        if case .held = error {} else { (lastFault, mayOpenAt) = (error, reactor.now + Limits.mendPause) }
        throw error
      }
      term = terms.next
      metrics.held.add(1)
      expiryDeadline = reactor.now + Limits.expiryPause
      reactor.arm(expiryTimer, at: expiryDeadline)
    }
  }

  /// The same for a look, which takes nothing back that is being given up.
  func openForLook(on reactor: isolated Reactor) async throws(StoreError) {
    if isLeaving {
      await settle(on: reactor)
      guard isOpen else { throw .unavailable("the partition goes to another server") }
    }
    if !isOpen { try await open(on: reactor) }
  }

  private func endOpening() {
    isOpening = false
    endTurn()
  }

  /// Waits until it is either open or given up.
  func settle(on reactor: isolated Reactor) async {
    while isOpening || isLeaving { await turn(on: reactor) }
  }

  /// Waits until an opening or a leaving that is under way has ended.
  private func turn(on reactor: isolated Reactor) async {
    let pause = Pause()
    awaitingTurn.append(pause)
    await pause.wait(until: .never, on: reactor)
  }

  private func endTurn() {
    for pause in awaitingTurn { pause.end() }
    awaitingTurn.removeAll()
  }

  /// Lets what is under way end, and gives the partition to whoever takes it.
  func leave(on reactor: isolated Reactor) async {
    await settle(on: reactor)
    guard isOpen else { return }
    isLeaving = true
    reactor.cancel(expiryTimer)
    while isWriting || usesInProgress > 0 { await idle.wait(until: .never, on: reactor) }
    term = 0
    news.clear()
    metrics.held.add(-1)
    await engine.close(number, on: reactor)
    isLeaving = false
    endTurn()
    tellWatchers()
  }

  private func tellIfIdle() {
    if !isWriting, usesInProgress == 0 { idle.end() }
  }

  /// The file has failed and was opened anew: what was in memory of it may be older than the file.
  private func beginNewTerm(on reactor: isolated Reactor) async {
    term = terms.next
    news.clear()
    if let now = try? await engine.open(number, on: reactor) { revision = max(revision, now) }
    tellWatchers()
  }

  /// Runs a read while the partition is open. A look is what is asked of all partitions, wherever they are, as lists
  /// and news: whoever has the partition is not kept from giving it away by that.
  func use<R>(
    isLook: Bool = false, on reactor: isolated Reactor,
    _ body: (any StoreEngine, isolated Reactor) async throws(StoreError) -> R
  ) async throws(StoreError) -> R {
    if isLook { try await openForLook(on: reactor) } else { try await open(on: reactor) }
    usesInProgress += 1
    looksInProgress += isLook ? 1 : 0
    defer {
      if !isLook { usedAt = reactor.now }
      looksInProgress -= isLook ? 1 : 0
      usesInProgress -= 1
    }
    return try await body(engine, reactor)
  }

  // MARK: Reading

  /// What the key has now, and whether that was in memory.
  func newest(_ key: StoreKey, on reactor: isolated Reactor) async throws(StoreError) -> (Lookup, isCached: Bool) {
    try await open(on: reactor)
    if let version = cache.value(of: key, term: term, at: reactor.now) { return (.found(version), true) }
    guard !engine.isShared else {
      return (
        try await use(on: reactor) { [number] (engine, reactor) throws(StoreError) in
          try await engine.lookUp(key, version: nil, in: number, on: reactor)
        }, false
      )
    }
    let (load, term) = (cache.beganLoad(of: key), term)
    var found: Lookup?
    defer {
      // What is read beside a commit may be what was before it.
      let mayKeep = cache.ended(load, of: key) && !changing.contains(key)
      if mayKeep, case .found(let version)? = found, version.value != nil {
        cache.set(version, of: key, term: term, at: reactor.now)
      }
    }
    let lookup = try await use(on: reactor) { [number] (engine, reactor) throws(StoreError) in
      try await engine.lookUp(key, version: nil, in: number, on: reactor)
    }
    found = lookup
    return (lookup, false)
  }

  // MARK: Changing

  func change(_ change: Change, on reactor: isolated Reactor) async throws(StoreError) -> ChangeOutcome {
    try await open(on: reactor)
    guard pending.count < Limits.changesWaitingMax, pendingBytes < Limits.bytesWaitingMax else { throw .busy }
    let result = await withUnsafeContinuation { (waiter: Waiter) in
      pending.append((change, waiter))
      pendingBytes += change.bytes
      if !isWriting {
        isWriting = true
        // Behind all requests of this pass of the loop: they share the commit.
        reactor.flushBeforeSleep(self)
      }
    }
    return try result.get()
  }

  override func flush(on reactor: isolated Reactor) {
    Task.immediate(executorPreference: reactor.queue) {
      while !pending.isEmpty { await commit(takeBatch(), on: reactor) }
      usedAt = reactor.now
      isWriting = false
      await tidy(on: reactor)
    }
  }

  private func takeBatch() -> [(change: Change, waiter: Waiter)] {
    var batch: [(change: Change, waiter: Waiter)] = []
    var bytes = 0
    while batch.count < Limits.changesPerCommit, bytes < Limits.bytesPerCommit, let next = pending.popFirst() {
      bytes += next.change.bytes
      batch.append(next)
    }
    pendingBytes -= bytes
    return batch
  }

  private func commit(_ batch: [(change: Change, waiter: Waiter)], on reactor: isolated Reactor) async {
    for entry in batch {
      for step in entry.change.steps {
        changing.insert(step.key)
        cache.forget(step.key)
      }
    }
    let result: Result<(outcomes: [ChangeOutcome], revision: Int64), StoreError>
    do throws(StoreError) {
      result = .success(try await engine.write(batch.map(\.change), to: number, on: reactor))
    } catch {
      result = .failure(error)
    }
    metrics.commits.increment()
    metrics.changes.add(batch.count)
    for key in changing { cache.forget(key) }
    changing.removeAll(keepingCapacity: true)
    switch result {
    case .success(let (outcomes, newest)):
      revision = max(revision, newest)
      for (entry, outcome) in zip(batch, outcomes) { keep(outcome, of: entry.change, on: reactor) }
      for (entry, outcome) in zip(batch, outcomes) { entry.waiter.resume(returning: .success(outcome)) }
      tellWatchers()
    case .failure(let error):
      switch error {
      case .failed, .damaged: if !engine.isShared { await beginNewTerm(on: reactor) }
      // Nothing was done.
      default: break
      }
      for entry in batch { entry.waiter.resume(returning: .failure(error)) }
    }
  }

  private func keep(_ outcome: ChangeOutcome, of change: Change, on reactor: isolated Reactor) {
    guard case .done(let results, isReplayed: false) = outcome else { return }
    for (step, result) in zip(change.steps, results) {
      if let expiry = result.expiry { expire(in: expiry, on: reactor) }
      if engine.isShared { continue }
      // A change behind it in the same commit has a newer value of the key, or none.
      guard case .put(let value, _) = step.action else {
        cache.forget(step.key)
        continue
      }
      let version = StoredVersion(
        version: result.version, revision: result.revision, timestamp: result.timestamp, expiry: result.expiry,
        value: value)
      cache.set(version, of: step.key, term: term, at: reactor.now)
    }
  }

  private func tidy(on reactor: isolated Reactor) async {
    guard reactor.now.since(tidiedAt) >= Limits.tidyPause, isOpen else { return }
    tidiedAt = reactor.now
    usesInProgress += 1
    defer { usesInProgress -= 1 }
    // Until nothing is left, or what comes in faster than that would pile up; what is not forgotten now is so later.
    while isOpen, (try? await engine.tidy(number, on: reactor)) == true {}
  }

  // MARK: Values past their time

  private func expire(in expiry: Timestamp, on reactor: isolated Reactor) {
    let left = expiry.microseconds - Timestamp.current().microseconds
    let span = max(TimeSpan.milliseconds(UInt64(max(left, 0)) / 1000 + 1), Limits.expiryPause)
    let deadline = reactor.now + span
    if deadline < expiryDeadline {
      expiryDeadline = deadline
      reactor.arm(expiryTimer, at: deadline)
    }
  }

  override func timerFired(_ timer: ReactorTimer, on reactor: isolated Reactor) {
    if timer === newsTimer { return lookForNews(on: reactor) }
    expiryDeadline = .never
    guard isOpen else { return }
    usesInProgress += 1
    Task.immediate(executorPreference: reactor.queue) {
      // Whoever reads a value past its time is told that it is gone; here that becomes a version, and news.
      let found = try? await engine.expired(in: number, on: reactor)
      // Who has it next does it then: a change would take back what is being given up.
      for key in found?.keys ?? [] where isOpen {
        Task.immediate(executorPreference: reactor.queue) {
          _ = try? await change(Change([Change.Step(key, .expire)]), on: reactor)
        }
      }
      usesInProgress -= 1
      if let next = found?.next { expire(in: next, on: reactor) }
      // Who could not look looks again: nobody else may ever put a value that ends.
      if found == nil { expire(in: .current(), on: reactor) }
      // Values that other servers have put may end after these servers have.
      if engine.isShared {
        expire(
          in: Timestamp(
            microseconds: Timestamp.current().microseconds + Int64(Limits.sharedExpiryPause.nanoseconds / 1000)),
          on: reactor)
      }
    }
  }

  // MARK: News

  /// Where others make changes too, asks how far they are.
  func lookForNewest(on reactor: isolated Reactor) async throws(StoreError) {
    try await open(on: reactor)
    if engine.isShared { revision = max(revision, try await engine.open(number, on: reactor)) }
  }

  /// Ends `pause` with each change, and when the partition is given up, until `unwatch`.
  func watch(_ pause: Pause, on reactor: isolated Reactor) {
    watchers[ObjectIdentifier(pause)] = pause
    if engine.isShared, !newsTimer.isArmed { reactor.arm(newsTimer, after: Limits.newsPause) }
  }

  func unwatch(_ pause: Pause) {
    watchers[ObjectIdentifier(pause)] = nil
    if watchers.isEmpty { news.clear() }
  }

  /// What has happened to keys of a range since a revision, as far as one look goes.
  func events(
    in range: KeyRange, since: Int64, on reactor: isolated Reactor
  ) async throws(StoreError) -> EventPage {
    try await openForLook(on: reactor)
    if let page = try await news.page(of: range, since: since, on: reactor) { return page }
    let reading = news.began(range, since: since)
    let result: Result<EventPage, StoreError>
    do throws(StoreError) {
      result = .success(
        try await use(isLook: true, on: reactor) { [number] (engine, reactor) throws(StoreError) in
          try await engine.events(in: range, since: since, of: number, on: reactor)
        })
    } catch {
      result = .failure(error)
    }
    news.ended(reading, result)
    return try result.get()
  }

  /// Other servers make changes too, and do not tell of them: as long as anybody watches it is looked for them, once
  /// for all who do.
  private func lookForNews(on reactor: isolated Reactor) {
    guard !watchers.isEmpty else { return }
    Task.immediate(executorPreference: reactor.queue) {
      if let newest = try? await engine.open(number, on: reactor), newest > revision {
        revision = newest
        tellWatchers()
      }
      if !watchers.isEmpty { reactor.arm(newsTimer, after: Limits.newsPause) }
    }
  }

  private func tellWatchers() {
    for pause in watchers.values { pause.end() }
  }
}
