import Basics

extension PartitionFile {
  /// Does all of `changes`, each whole or not at all, in their order, with one durable commit.
  /// - Throws: `SQLiteFailure`: then none was done, unless it was the commit that failed.
  func apply(_ changes: [Change], at now: Timestamp) throws(SQLiteFailure) -> [ChangeOutcome] {
    let (before, compactedBefore) = (revision, compacted)
    try statement("begin immediate").run()
    do throws(SQLiteFailure) {
      var outcomes: [ChangeOutcome] = []
      outcomes.reserveCapacity(changes.count)
      for change in changes { outcomes.append(try apply(change, at: now)) }
      if compacted != compactedBefore { try noteCompacted() }
      if revision == before, compacted == compactedBefore {
        try statement("rollback").run()
      } else {
        try statement("commit").run()
      }
      return outcomes
    } catch {
      (revision, compacted) = (before, compactedBefore)
      // SQLite may have taken it back by itself.
      if connection.isInTransaction { try? statement("rollback").run() }
      throw error
    }
  }

  private func apply(_ change: Change, at now: Timestamp) throws(SQLiteFailure) -> ChangeOutcome {
    if let name = change.name, let known = try outcome(of: name) { return known }
    var items: [PartitionItem?] = []
    items.reserveCapacity(change.steps.count)
    for (index, step) in change.steps.enumerated() {
      let item = try item(step.key)
      let live = item?.liveVersion(at: now)
      guard step.condition.isMet(by: live) else {
        return .refused(step: index, current: live == nil ? nil : try version(of: step.key, live, at: now))
      }
      switch step.action {
      case .delete where live == nil, .expire where item?.isLive != true || live != nil: return .missing(step: index)
      // What was deleted can still be purged of what it was.
      case .purge where live == nil && (item.map { $0.oldest == $0.latest } ?? true): return .missing(step: index)
      default: items.append(item)
      }
    }
    var results: [StepResult] = []
    results.reserveCapacity(items.count)
    for (step, item) in zip(change.steps, items) { results.append(try perform(step, on: item, at: now)) }
    if let name = change.name { try remember(name, results, at: now) }
    return .done(results, isReplayed: false)
  }

  private func version(of key: StoreKey, _ number: Int64?, at now: Timestamp) throws(SQLiteFailure) -> StoredVersion? {
    if case .found(let version) = try lookUp(key, version: number) { version } else { nil }
  }

  func item(_ key: StoreKey) throws(SQLiteFailure) -> PartitionItem? {
    let statement = try statement("select id, latest, oldest, is_live, expires, sum from item where key = ?1")
    defer { statement.reset() }
    statement.bind(text: key.bytes, at: 1)
    return try statement.step() ? try PartitionItem(statement, of: key.bytes) : nil
  }

  private func perform(
    _ step: Change.Step, on item: PartitionItem?, at now: Timestamp
  ) throws(SQLiteFailure) -> StepResult {
    var value: [UInt8]?
    var expiry: Timestamp?
    if case .put(let bytes, let lifetime) = step.action {
      value = bytes
      expiry = lifetime.map { Timestamp(microseconds: now.microseconds + Int64($0.nanoseconds / 1000)) }
    }
    revision += 1
    let new = StoredVersion(
      version: (item?.latest ?? 0) + 1, revision: revision, timestamp: now, expiry: expiry, value: value)
    let oldest = max(item?.oldest ?? 1, step.action == .purge ? new.version : new.version - maxVersions + 1)
    let id = try store(new, oldest: oldest, of: item, step.key)
    try insert(new, of: id, step.key)
    if let item, oldest > item.oldest { try compact(id, before: oldest) }
    let isUpdate = item?.liveVersion(at: now) != nil
    return StepResult(
      value == nil ? .delete : isUpdate ? .update : .create, version: new.version, previous: item?.latest ?? 0,
      kept: new.version - oldest + 1, revision: revision, timestamp: now, expiry: expiry)
  }

  /// Writes what the key has now, and returns its number.
  func store(
    _ version: StoredVersion, oldest: Int64, of item: PartitionItem?, _ key: StoreKey
  ) throws(SQLiteFailure) -> Int64 {
    // A key gets the number that nobody has had, so that its sum is known before it is written.
    let id: Int64
    if let item { id = item.id } else { id = try nextItem() }
    let new = PartitionItem(id: id, version, oldest: oldest)
    try write(new, of: key)
    return new.id
  }

  private func nextItem() throws(SQLiteFailure) -> Int64 {
    let statement = try statement("select coalesce(max(id), 0) + 1 from item")
    defer { statement.reset() }
    guard try statement.step() else { throw SQLiteFailure.damage("there is no next number") }
    return statement.integer(0)
  }

  func write(_ item: PartitionItem, of key: StoreKey) throws(SQLiteFailure) {
    let statement = try statement(
      """
      insert into item (id, key, latest, oldest, is_live, expires, sum) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
      on conflict (id) do update
      set latest = excluded.latest, oldest = excluded.oldest, is_live = excluded.is_live, expires = excluded.expires,
        sum = excluded.sum
      """)
    statement.bind(item.id, at: 1)
    statement.bind(text: key.bytes, at: 2)
    statement.bind(item.latest, at: 3)
    statement.bind(item.oldest, at: 4)
    statement.bind(item.isLive ? 1 : 0, at: 5)
    statement.bind(item.expires, at: 6)
    statement.bind(item.sum(of: key.bytes), at: 7)
    try statement.run()
  }

  func insert(_ version: StoredVersion, of item: Int64, _ key: StoreKey) throws(SQLiteFailure) {
    let statement = try statement(
      """
      insert into version (revision, item, version, created, expires, value, sum)
      values (?1, ?2, ?3, ?4, ?5, ?6, ?7)
      """)
    statement.bind(version.revision, at: 1)
    statement.bind(item, at: 2)
    statement.bind(version.version, at: 3)
    statement.bind(version.timestamp.microseconds, at: 4)
    statement.bind(version.expiry?.microseconds, at: 5)
    statement.bind(blob: version.value, at: 6)
    statement.bind(PartitionFile.sum(of: key.bytes, version), at: 7)
    try statement.run()
  }

  /// Removes the versions of an item before `oldest`, and remembers how far what happened is not known any more.
  func compact(_ item: Int64, before oldest: Int64) throws(SQLiteFailure) {
    let newest = try statement("select max(revision) from version where item = ?1 and version < ?2")
    newest.bind(item, at: 1)
    newest.bind(oldest, at: 2)
    defer { newest.reset() }
    guard try newest.step(), let revision = newest.optional(0) else { return }
    let removal = try statement("delete from version where item = ?1 and version < ?2")
    removal.bind(item, at: 1)
    removal.bind(oldest, at: 2)
    try removal.run()
    compacted = max(compacted, revision)
  }

  /// Writes down how far what happened is not known any more; a tool may have come further.
  func noteCompacted() throws(SQLiteFailure) {
    let note = try statement(
      """
      insert into meta (name, value) values ('compacted', ?1)
      on conflict (name) do update set value = max(value, excluded.value)
      """)
    note.bind(compacted, at: 1)
    try note.run()
  }

  // MARK: Names of changes

  private func outcome(of name: Change.Name) throws(SQLiteFailure) -> ChangeOutcome? {
    let statement = try statement("select fingerprint, outcome, sum from change where name = ?1")
    defer { statement.reset() }
    statement.bind(blob: name.name, at: 1)
    guard try statement.step() else { return nil }
    let known = Change.Name(name.name, fingerprint: statement.bytes(0))
    let text = statement.bytes(1)
    guard PartitionFile.sum(of: known, text) == statement.integer(2) else {
      throw SQLiteFailure.damage("the outcome of a named change is not what was written")
    }
    guard known == name else { return .conflict }
    let results = String(decoding: text, as: UTF8.self).split(separator: "\n").compactMap { StepResult(text: $0) }
    return .done(results, isReplayed: true)
  }

  private func remember(_ name: Change.Name, _ results: [StepResult], at now: Timestamp) throws(SQLiteFailure) {
    let statement = try statement(
      "insert into change (name, fingerprint, outcome, created, sum) values (?1, ?2, ?3, ?4, ?5)")
    let text = Array(results.map(\.text).joined(separator: "\n").utf8)
    statement.bind(blob: name.name, at: 1)
    statement.bind(blob: name.fingerprint, at: 2)
    statement.bind(text: text, at: 3)
    statement.bind(now.microseconds, at: 4)
    statement.bind(PartitionFile.sum(of: name, text), at: 5)
    try statement.run()
  }

  /// Forgets the names of changes that are old enough, a part at a time.
  /// - Returns: whether there may be more of them.
  func forgetNames(at now: Timestamp) throws(SQLiteFailure) -> Bool {
    let statement = try statement(
      """
      delete from change where name in (select name from change where created < ?1 order by created limit ?2)
      """)
    statement.bind(namesEnd(at: now), at: 1)
    statement.bind(Int64(Limits.namesForgottenAtOnce), at: 2)
    try statement.run()
    return connection.rowsChanged == Limits.namesForgottenAtOnce
  }

  /// Names from before this time are not remembered any more.
  func namesEnd(at now: Timestamp) -> Int64 { now.microseconds - Int64(Limits.namesKept.nanoseconds / 1000) }
}
