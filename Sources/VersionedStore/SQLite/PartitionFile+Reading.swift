import Basics

extension PartitionFile {
  /// The newest version of a key, or the one called `version`.
  func lookUp(_ key: StoreKey, version: Int64?) throws(SQLiteFailure) -> Lookup {
    let statement = try statement(
      """
      select v.version, v.revision, v.created, v.expires, v.value, v.sum,
        i.id, i.latest, i.oldest, i.is_live, i.expires, i.sum
      from item i left join version v on v.item = i.id and v.version = coalesce(?2, i.latest) where i.key = ?1
      """)
    defer { statement.reset() }
    statement.bind(text: key.bytes, at: 1)
    statement.bind(version, at: 2)
    guard try statement.step() else { return .none }
    let item = try PartitionItem(statement, of: key.bytes, from: 6)
    if !statement.isNull(0) { return .found(try read(statement, of: key.bytes)) }
    guard let version else { throw SQLiteFailure.damage("the newest version of a key is missing") }
    if version > item.latest { return .none }
    guard version < item.oldest else { throw SQLiteFailure.damage("version \(version) of a key is missing") }
    return .compacted(oldest: item.oldest)
  }

  /// A version in the first columns of a row; it is looked whether it is as it was written.
  func read(_ statement: SQLiteStatement, of key: [UInt8]) throws(SQLiteFailure) -> StoredVersion {
    let version = StoredVersion(
      version: statement.integer(0), revision: statement.integer(1),
      timestamp: Timestamp(microseconds: statement.integer(2)),
      expiry: statement.optional(3).map { Timestamp(microseconds: $0) },
      value: statement.isNull(4) ? nil : statement.bytes(4))
    guard PartitionFile.sum(of: key, version) == statement.integer(5) else {
      throw SQLiteFailure.damage("version \(version.version) of a key is not what was written")
    }
    return version
  }

  /// The versions of a key before `before`, the newest first.
  func history(_ key: StoreKey, before: Int64?, limit: Int) throws(SQLiteFailure) -> [StoredVersion] {
    let statement = try statement(
      """
      select v.version, v.revision, v.created, v.expires, v.value, v.sum
      from item i join version v on v.item = i.id
      where i.key = ?1 and v.version < ?2 order by v.version desc limit ?3
      """)
    defer { statement.reset() }
    statement.bind(text: key.bytes, at: 1)
    statement.bind(before ?? .max, at: 2)
    statement.bind(Int64(limit), at: 3)
    var versions: [StoredVersion] = []
    var bytes = 0
    while bytes < Limits.pageBytesMax, try statement.step() {
      let version = try read(statement, of: key.bytes)
      bytes += version.value?.count ?? 0
      versions.append(version)
    }
    return versions
  }

  /// Keys of `range` behind `after` that have a value at `now`, in the order of their bytes.
  func keys(
    in range: KeyRange, after: StoreKey?, limit: Int, at now: Timestamp
  ) throws(SQLiteFailure) -> [KeyEntry] {
    let statement = try statement(
      """
      select i.id, i.latest, i.oldest, i.is_live, i.expires, i.sum, i.key, v.created
      from item i join version v on v.item = i.id and v.version = i.latest
      where i.key >= ?1 and i.key < ?2 and i.key > ?3 and i.is_live = 1 and (i.expires is null or i.expires > ?4)
      order by i.key limit ?5
      """)
    defer { statement.reset() }
    statement.bind(text: range.prefix, at: 1)
    // Blobs stand behind all texts.
    if let end = range.end { statement.bind(text: end, at: 2) } else { statement.bind(blob: [], at: 2) }
    statement.bind(text: after?.bytes ?? [], at: 3)
    statement.bind(now.microseconds, at: 4)
    statement.bind(Int64(limit), at: 5)
    var entries: [KeyEntry] = []
    while try statement.step() {
      guard let key = StoreKey(utf8: statement.bytes(6)) else { throw SQLiteFailure.damage("a key is none") }
      let item = try PartitionItem(statement, of: key.bytes)
      entries.append(
        KeyEntry(key: key, version: item.latest, timestamp: Timestamp(microseconds: statement.integer(7))))
    }
    return entries
  }

  /// What has happened to keys of `range` since the revision `since`, as far as one look goes.
  func events(in range: KeyRange, since: Int64) throws(SQLiteFailure) -> EventPage {
    // Both are read in one transaction, or a change in between would be missed.
    try statement("begin").run()
    defer { try? statement("rollback").run() }
    try readState()
    // Somebody has seen what the file does not have: it was put back from elsewhere.
    if since > revision { return EventPage(events: [], through: revision, hasGap: true) }
    let last = min(revision, since + Int64(Limits.eventsPerLook))
    let statement = try statement(
      """
      select v.version, v.revision, v.created, v.expires, v.value, v.sum, i.key
      from version v join item i on i.id = v.item
      where v.revision > ?1 and v.revision <= ?2 and i.key >= ?3 and i.key < ?4 order by v.revision
      """)
    defer { statement.reset() }
    statement.bind(since, at: 1)
    statement.bind(last, at: 2)
    statement.bind(text: range.prefix, at: 3)
    if let end = range.end { statement.bind(text: end, at: 4) } else { statement.bind(blob: [], at: 4) }
    var events: [StoreEvent] = []
    var bytes = 0
    while try statement.step() {
      guard let key = StoreKey(utf8: statement.bytes(6)) else { throw SQLiteFailure.damage("a key is none") }
      let version = try read(statement, of: key.bytes)
      events.append(StoreEvent(key: key, version: version))
      bytes += version.value?.count ?? 0
      if bytes >= Limits.pageBytesMax {
        return EventPage(events: events, through: version.revision, hasGap: since < compacted)
      }
    }
    return EventPage(events: events, through: last, hasGap: since < compacted)
  }

  /// Keys whose values are past their time at `now`, a part of them.
  func expired(at now: Timestamp) throws(SQLiteFailure) -> [StoreKey] {
    let statement = try statement("select key from item where expires <= ?1 and is_live = 1 limit ?2")
    defer { statement.reset() }
    statement.bind(now.microseconds, at: 1)
    statement.bind(Int64(Limits.expiriesPerCommit), at: 2)
    var keys: [StoreKey] = []
    while try statement.step() { if let key = StoreKey(utf8: statement.bytes(0)) { keys.append(key) } }
    return keys
  }

  /// How much there is, but for the bytes.
  func figures(at now: Timestamp) throws(SQLiteFailure) -> PartitionFigures {
    let statement = try statement(
      """
      select (select count(*) from item where is_live = 1 and (expires is null or expires > ?1)),
        (select count(*) from version)
      """)
    defer { statement.reset() }
    statement.bind(now.microseconds, at: 1)
    var figures = PartitionFigures()
    if try statement.step() { (figures.keys, figures.versions) = (statement.integer(0), statement.integer(1)) }
    return figures
  }
}
