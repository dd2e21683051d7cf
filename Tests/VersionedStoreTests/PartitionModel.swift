import Basics

@testable import VersionedStore

/// What a partition has to do, in a few lines without a file: for comparison.
struct PartitionModel {
  let maxVersions: Int64
  private(set) var keys: [StoreKey: [StoredVersion]] = [:]
  private var oldest: [StoreKey: Int64] = [:]
  private var names: [[UInt8]: (Change.Name, [StepResult])] = [:]
  private(set) var revision: Int64 = 0
  private(set) var compacted: Int64 = 0

  init(maxVersions: Int64) { self.maxVersions = maxVersions }

  private func live(_ key: StoreKey, at now: Timestamp) -> StoredVersion? {
    keys[key]?.last.flatMap { $0.isLive(at: now) ? $0 : nil }
  }

  mutating func apply(_ change: Change, at now: Timestamp) -> ChangeOutcome {
    if let name = change.name, let (known, results) = names[name.name] {
      return known == name ? .done(results, isReplayed: true) : .conflict
    }
    for (index, step) in change.steps.enumerated() {
      let current = live(step.key, at: now)
      guard step.condition.isMet(by: current?.version) else { return .refused(step: index, current: current) }
      let last = keys[step.key]?.last
      switch step.action {
      case .put: break
      case .delete: if current == nil { return .missing(step: index) }
      case .purge: if current == nil, keys[step.key].map({ $0.count == 1 }) ?? true { return .missing(step: index) }
      case .expire: if current != nil || last?.value == nil { return .missing(step: index) }
      }
    }
    let results = change.steps.map { perform($0, at: now) }
    if let name = change.name { names[name.name] = (name, results) }
    return .done(results, isReplayed: false)
  }

  private mutating func perform(_ step: Change.Step, at now: Timestamp) -> StepResult {
    let wasLive = live(step.key, at: now) != nil
    var all = keys[step.key] ?? []
    var (value, expiry): ([UInt8]?, Timestamp?)
    if case .put(let bytes, let lifetime) = step.action {
      value = bytes
      expiry = lifetime.map { Timestamp(microseconds: now.microseconds + Int64($0.nanoseconds / 1000)) }
    }
    revision += 1
    let previous = all.last?.version ?? 0
    all.append(
      StoredVersion(version: previous + 1, revision: revision, timestamp: now, expiry: expiry, value: value))
    while all.count > maxVersions || step.action == .purge && all.count > 1 {
      compacted = max(compacted, all.removeFirst().revision)
    }
    keys[step.key] = all
    return StepResult(
      value == nil ? .delete : wasLive ? .update : .create, version: previous + 1, previous: previous,
      kept: Int64(all.count), revision: revision, timestamp: now, expiry: expiry)
  }

  func lookUp(_ key: StoreKey, version: Int64?) -> Lookup {
    guard let all = keys[key], let first = all.first, let last = all.last else { return .none }
    guard let version else { return .found(last) }
    if version > last.version { return .none }
    if version < first.version { return .compacted(oldest: first.version) }
    return .found(all[Int(version - first.version)])
  }

  func entries(in range: KeyRange, at now: Timestamp) -> [KeyEntry] {
    keys.keys.sorted().compactMap { key in
      guard key.bytes.starts(with: range.prefix), let version = live(key, at: now) else { return nil }
      return KeyEntry(key: key, version: version.version, timestamp: version.timestamp)
    }
  }

  func events(in range: KeyRange, since: Int64) -> [StoreEvent] {
    keys.flatMap { key, all in all.map { StoreEvent(key: key, version: $0) } }
      .filter { $0.version.revision > since && $0.key.bytes.starts(with: range.prefix) }
      .sorted { $0.version.revision < $1.version.revision }
  }
}
