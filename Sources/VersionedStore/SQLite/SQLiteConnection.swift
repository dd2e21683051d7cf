import CSQLite
import Glibc

/// What SQLite says when something has failed.
struct SQLiteFailure: Error, CustomStringConvertible {
  /// The extended result code.
  let code: CInt
  let description: String
  /// Whether only one row is damaged, so that the file as such can be gone on with.
  var isOfRow = false

  private var kind: CInt { code & 0xFF }

  /// The file is not as it was written: `what`.
  static func damage(_ what: String, isOfRow: Bool = true) -> SQLiteFailure {
    SQLiteFailure(code: SQLITE_CORRUPT, description: "the file is damaged: \(what)", isOfRow: isOfRow)
  }

  /// Whether there was no room for what was to be written. All of it was taken back.
  var isFull: Bool { kind == SQLITE_FULL }
  /// Whether a file is not as it was written.
  var isDamage: Bool { kind == SQLITE_CORRUPT || kind == SQLITE_NOTADB }
  /// Whether somebody else has kept a file for too long.
  var isBusy: Bool { kind == SQLITE_BUSY }

  var asStoreError: StoreError {
    if isFull { return .full }
    if isBusy { return .busy }
    return isDamage ? .damaged(description) : .failed(description)
  }
}

/// A connection to a file, for one thread at a time.
final class SQLiteConnection {
  private let handle: OpaquePointer
  private var statements: [SQLiteStatement] = []
  private var isClosed = false
  /// Pages in the log of changes behind the last commit.
  private let logPages = UnsafeMutablePointer<CInt>.allocate(capacity: 1)

  /// Opens the file at `path`, and makes it if `creates`.
  init(_ path: String, creates: Bool, isReadOnly: Bool = false) throws(SQLiteFailure) {
    var opened: OpaquePointer?
    let mode = isReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | (creates ? SQLITE_OPEN_CREATE : 0)
    let code = sqlite3_open_v2(path, &opened, mode | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
    guard let opened else { throw SQLiteFailure(code: code, description: "no memory for a connection to a file") }
    handle = opened
    logPages.initialize(to: 0)
    guard code == SQLITE_OK else {
      let failure = failure(code)
      close()
      throw failure
    }
    sqlite3_busy_timeout(handle, Limits.busyMs)
    // Whoever closes the file says itself when the log goes into it, and hears whether that worked.
    _ = csqlite_configure(handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    _ = csqlite_configure(handle, SQLITE_DBCONFIG_DEFENSIVE, 1)
    _ = csqlite_configure(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
    // In the place of SQLite's own checkpoints, which a pragma on them would put back.
    sqlite3_wal_hook(
      handle,
      { pages, _, _, count in
        pages?.assumingMemoryBound(to: CInt.self).pointee = count
        return SQLITE_OK
      }, logPages)
  }

  deinit {
    close()
    logPages.deallocate()
  }

  /// Ends it, with what was prepared on it. Nothing may be asked of it afterwards.
  func close() {
    guard !isClosed else { return }
    isClosed = true
    for statement in statements { statement.finalize() }
    sqlite3_close_v2(handle)
  }

  /// Pages in the log behind the last commit of this connection.
  var pagesInLog: Int { Int(logPages.pointee) }

  func prepare(_ sql: String) throws(SQLiteFailure) -> SQLiteStatement {
    var prepared: OpaquePointer?
    let code = sqlite3_prepare_v3(handle, sql, -1, CUnsignedInt(SQLITE_PREPARE_PERSISTENT), &prepared, nil)
    guard code == SQLITE_OK, let prepared else { throw failure(code) }
    let statement = SQLiteStatement(prepared, of: handle)
    statements.append(statement)
    return statement
  }

  /// Runs statements without parameters whose rows nobody wants.
  func run(_ sql: String) throws(SQLiteFailure) {
    let code = sqlite3_exec(handle, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw failure(code) }
  }

  /// The first value of the first row, in text.
  func text(_ sql: String) throws(SQLiteFailure) -> String {
    let statement = try prepare(sql)
    defer {
      statement.finalize()
      statements.removeLast()
    }
    return try statement.step() ? String(decoding: statement.bytes(0), as: UTF8.self) : ""
  }

  /// Rows that the last statement has changed.
  var rowsChanged: Int { Int(sqlite3_changes(handle)) }

  /// Whether a transaction was begun and is not over.
  var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

  /// Writes what is in the log into the file and, if `restarts`, waits for readers and begins the log anew.
  /// - Returns: whether nothing is left in it.
  @discardableResult
  func checkpoint(restarts: Bool) throws(SQLiteFailure) -> Bool {
    var (pages, moved): (CInt, CInt) = (0, 0)
    let mode = restarts ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE
    let code = sqlite3_wal_checkpoint_v2(handle, nil, mode, &pages, &moved)
    guard code == SQLITE_OK || code & 0xFF == SQLITE_BUSY else { throw failure(code) }
    logPages.pointee = pages - moved
    return code == SQLITE_OK && pages == moved
  }

  /// Copies all that is committed into a new file at `path`, while others go on.
  func backUp(to path: String) throws(SQLiteFailure) {
    let target = try SQLiteConnection(path, creates: true)
    defer { target.close() }
    guard let backup = sqlite3_backup_init(target.handle, "main", handle, "main") else {
      throw target.failure(sqlite3_extended_errcode(target.handle))
    }
    // One step for all pages: a file that others write into meanwhile would begin anew at each of several.
    let code = sqlite3_backup_step(backup, -1)
    let end = sqlite3_backup_finish(backup)
    guard code == SQLITE_DONE, end == SQLITE_OK else { throw target.failure(end == SQLITE_OK ? code : end) }
  }

  private func failure(_ code: CInt) -> SQLiteFailure { SQLiteFailure(code: code, of: handle) }
}

extension SQLiteFailure {
  fileprivate init(code: CInt, of handle: OpaquePointer) {
    let extended = sqlite3_extended_errcode(handle)
    // An error of the system has its reason elsewhere.
    let system = sqlite3_system_errno(handle)
    let reason = system != 0 && code & 0xFF == SQLITE_IOERR ? ": " + String(cString: strerror(system)) : ""
    self.code = extended == SQLITE_OK ? code : extended
    description = "\(String(cString: sqlite3_errmsg(handle)))\(reason) (SQLite: \(self.code))"
  }
}

/// A prepared statement. Who steps it resets it.
final class SQLiteStatement {
  private let handle: OpaquePointer
  private let connection: OpaquePointer

  fileprivate init(_ handle: OpaquePointer, of connection: OpaquePointer) {
    (self.handle, self.connection) = (handle, connection)
  }

  fileprivate func finalize() { sqlite3_finalize(handle) }

  func bind(_ value: Int64, at index: CInt) { sqlite3_bind_int64(handle, index, value) }

  func bind(_ value: Int64?, at index: CInt) {
    if let value { sqlite3_bind_int64(handle, index, value) } else { sqlite3_bind_null(handle, index) }
  }

  func bind(text bytes: [UInt8], at index: CInt) {
    bytes.withUnsafeBytes { raw in
      let start = raw.bindMemory(to: CChar.self).baseAddress
      // Of nothing there is no address, and none would be NULL.
      let code = start == nil ? sqlite3_bind_text(handle, index, "", 0, nil) : 0
      if start != nil { _ = csqlite_bind_text(handle, index, start, UInt64(raw.count)) }
      precondition(code == SQLITE_OK, "SQLite has no such parameter")
    }
  }

  func bind(blob bytes: [UInt8]?, at index: CInt) {
    guard let bytes else { return _ = sqlite3_bind_null(handle, index) }
    guard !bytes.isEmpty else { return _ = sqlite3_bind_zeroblob(handle, index, 0) }
    bytes.withUnsafeBytes { _ = csqlite_bind_blob(handle, index, $0.baseAddress, UInt64($0.count)) }
  }

  /// Whether there is another row.
  func step() throws(SQLiteFailure) -> Bool {
    switch sqlite3_step(handle) {
    case SQLITE_ROW: return true
    case SQLITE_DONE: return false
    case let code: throw SQLiteFailure(code: code, of: connection)
    }
  }

  /// Runs it to its end, for what it does.
  func run() throws(SQLiteFailure) {
    defer { reset() }
    while try step() {}
  }

  func reset() {
    sqlite3_reset(handle)
    sqlite3_clear_bindings(handle)
  }

  func integer(_ column: CInt) -> Int64 { sqlite3_column_int64(handle, column) }

  func isNull(_ column: CInt) -> Bool { sqlite3_column_type(handle, column) == SQLITE_NULL }

  func optional(_ column: CInt) -> Int64? { isNull(column) ? nil : integer(column) }

  func bytes(_ column: CInt) -> [UInt8] {
    guard let start = sqlite3_column_blob(handle, column) else { return [] }
    return Array(UnsafeRawBufferPointer(start: start, count: Int(sqlite3_column_bytes(handle, column))))
  }
}
