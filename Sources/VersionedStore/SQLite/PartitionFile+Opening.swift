import Basics

extension PartitionFile {
  private static let format = 1

  private static let tables = """
    create table if not exists meta (name text primary key, value integer not null) without rowid;
    create table if not exists item (
      id integer primary key, key text not null unique, latest integer not null, oldest integer not null,
      is_live integer not null, expires integer, sum integer not null);
    create index if not exists item_expires on item (expires) where expires is not null;
    create table if not exists version (
      revision integer primary key, item integer not null, version integer not null, created integer not null,
      expires integer, value blob, sum integer not null);
    create unique index if not exists version_item on version (item, version);
    create table if not exists change (
      name blob primary key, fingerprint blob not null, outcome text not null, created integer not null,
      sum integer not null) without rowid;
    create index if not exists change_created on change (created);
    """

  /// Opens the file to write into it, makes it if it is not there, and looks whether it is whole. What the log holds
  /// goes into the file first, and is synced there: of what a crash or a failed sync has left in the log nobody knows
  /// whether it is on the disk.
  static func openForWriting(
    _ place: PartitionPlace, maxVersions: Int64, acknowledged: Int64
  ) throws(SQLiteFailure) -> PartitionFile {
    let connection = try SQLiteConnection(place.path, creates: true)
    let file = PartitionFile(connection, maxVersions: maxVersions)
    do throws(SQLiteFailure) {
      // Deleted bytes need not be overwritten; Debian's SQLite does so unless told otherwise.
      try connection.run(
        """
        pragma journal_mode = wal; pragma synchronous = full; pragma secure_delete = off;
        pragma cell_size_check = on
        """)
      do throws(SQLiteFailure) {
        // Without waiting, if nobody reads what the file has to keep for them.
        var isMoved = try connection.checkpoint(restarts: false)
        if !isMoved { isMoved = try connection.checkpoint(restarts: true) }
        guard isMoved else { throw SQLiteFailure(code: 5, description: "somebody reads the file for too long") }
      } catch {
        // What there is can be read without room for more.
        guard error.isFull else { throw error }
      }
      if place.bytes <= Limits.checkedBytesMax {
        let report = try connection.text("pragma integrity_check(1)")
        guard report == "ok" else { throw SQLiteFailure.damage(report, isOfRow: false) }
      }
      try connection.run("begin immediate; \(tables)")
      for (name, value) in [("format", format), ("partition", place.partition), ("partitions", place.partitions)] {
        let known = try connection.text("select value from meta where name = '\(name)'")
        if known.isEmpty {
          try connection.run("insert into meta (name, value) values ('\(name)', \(value))")
        } else if known != "\(value)" {
          throw SQLiteFailure.damage("its \(name) is \(known) in the place of \(value)", isOfRow: false)
        }
      }
      try connection.run("commit")
      try file.readState()
    } catch {
      file.close()
      throw error
    }
    guard file.revision >= acknowledged else {
      file.close()
      throw SQLiteFailure.damage(
        "it ends with revision \(file.revision), and \(acknowledged) was acknowledged", isOfRow: false)
    }
    return file
  }

  /// Opens a file that is there to read it, also one that another process writes into.
  static func openForReading(_ place: PartitionPlace) throws(SQLiteFailure) -> PartitionFile {
    // Not SQLITE_OPEN_READONLY: without a writer nobody else would make the memory that connections share.
    let connection = try SQLiteConnection(place.path, creates: false)
    try connection.run("pragma query_only = on")
    return PartitionFile(connection, maxVersions: .max)
  }

  /// Reads what is kept in memory of the file.
  func readState() throws(SQLiteFailure) {
    let statement = try statement(
      "select (select max(revision) from version), (select value from meta where name = 'compacted')")
    defer { statement.reset() }
    guard try statement.step() else { throw SQLiteFailure.damage("it has no state", isOfRow: false) }
    compacted = statement.optional(1) ?? 0
    revision = max(statement.optional(0) ?? 0, compacted)
  }

  /// The time at which the next value ends, nil if none does.
  func nextExpiry() throws(SQLiteFailure) -> Timestamp? {
    let statement = try statement("select min(expires) from item where expires is not null")
    defer { statement.reset() }
    return try statement.step() ? statement.optional(0).map { Timestamp(microseconds: $0) } : nil
  }
}
