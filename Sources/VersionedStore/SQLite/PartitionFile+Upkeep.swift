import Basics

extension PartitionFile {
  // MARK: Taking out and putting in

  /// Calls `body` with every version, those of a key together and the oldest first.
  func forEachLine(_ body: (ArchiveLine) -> Void) throws(SQLiteFailure) {
    let statement = try statement(
      """
      select v.version, v.revision, v.created, v.expires, v.value, v.sum, i.key
      from item i join version v on v.item = i.id order by i.key, v.version
      """)
    defer { statement.reset() }
    while try statement.step() {
      guard let key = StoreKey(utf8: statement.bytes(6)) else { throw SQLiteFailure.damage("a key is none") }
      let version = try read(statement, of: key.bytes)
      body(
        ArchiveLine(
          key: key,
          version: StoredVersion(
            version: version.version, revision: 0, timestamp: version.timestamp, expiry: version.expiry,
            value: version.value)))
    }
  }

  /// Puts a line in, in a transaction that some others share; false if its key is there although it is the first one
  /// with that key.
  func take(_ line: ArchiveLine, isFirst: Bool) throws(SQLiteFailure) -> Bool {
    if !connection.isInTransaction { try statement("begin immediate").run() }
    let known = try item(line.key)
    if isFirst, known != nil { return false }
    revision += 1
    let version = StoredVersion(
      version: line.version.version, revision: revision, timestamp: line.version.timestamp,
      expiry: line.version.expiry, value: line.version.value)
    let id = try store(version, oldest: known?.oldest ?? version.version, of: known, line.key)
    try insert(version, of: id, line.key)
    if revision.isMultiple(of: Int64(Limits.changesPerCommit)) { try endTaking() }
    return true
  }

  /// Makes what was put in durable.
  func endTaking() throws(SQLiteFailure) {
    if connection.isInTransaction { try statement("commit").run() }
  }

  // MARK: Cleaning

  /// How much there is of what nobody needs any more.
  func waste(maxVersions: Int64) throws(SQLiteFailure) -> StoreWaste {
    var waste = StoreWaste()
    let statement = try statement(
      """
      select count(*), coalesce(sum(length(v.value)), 0), (select count(*) from change where created < ?2)
      from item i join version v on v.item = i.id
      where v.version < case when i.is_live = 1 then i.latest - ?1 + 1 else i.latest end
      """)
    defer { statement.reset() }
    statement.bind(maxVersions, at: 1)
    statement.bind(namesEnd(at: Timestamp.current()), at: 2)
    guard try statement.step() else { return waste }
    (waste.versions, waste.bytes, waste.names) = (statement.integer(0), statement.integer(1), statement.integer(2))
    return waste
  }

  /// Removes it, an item at a time, so that a server beside it waits for none of that for long.
  func removeWaste() throws(SQLiteFailure) {
    try readState()
    while true {
      let statement = try statement(
        """
        select key, case when is_live = 1 then latest - ?1 + 1 else latest end as first from item
        where oldest < first limit ?2
        """)
      statement.bind(maxVersions, at: 1)
      statement.bind(Int64(Limits.expiriesPerCommit), at: 2)
      var items: [(key: StoreKey, first: Int64)] = []
      while try statement.step() {
        guard let key = StoreKey(utf8: statement.bytes(0)) else { throw SQLiteFailure.damage("a key is none") }
        items.append((key, statement.integer(1)))
      }
      statement.reset()
      if items.isEmpty { break }
      try self.statement("begin immediate").run()
      do throws(SQLiteFailure) {
        for (key, first) in items { try removeVersions(of: key, before: first) }
        try noteCompacted()
        try self.statement("commit").run()
      } catch {
        if connection.isInTransaction { try? self.statement("rollback").run() }
        throw error
      }
    }
    while try forgetNames(at: Timestamp.current()) {}
  }

  /// A server may have changed the key since it was found: its versions only grow.
  private func removeVersions(of key: StoreKey, before first: Int64) throws(SQLiteFailure) {
    guard let item = try item(key) else { throw SQLiteFailure.damage("a key is missing") }
    try compact(item.id, before: first)
    try write(PartitionItem(item, oldest: first), of: key)
  }
}
