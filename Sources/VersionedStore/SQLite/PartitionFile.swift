import Basics
import Hashing

/// One partition in a file of SQLite's: what may be asked of it and done to it, on whichever thread, but on one at a
/// time. A file has two of these, one that writes and one that reads beside it.
///
/// - Safe because: a lane runs one job at a time, and nobody else has the object.
final class PartitionFile: @unchecked Sendable {
  let connection: SQLiteConnection
  let maxVersions: Int64
  /// The newest change.
  var revision: Int64 = 0
  /// The newest change that is not kept any more.
  var compacted: Int64 = 0
  /// By where the literal stands in the program: each has one place.
  private var prepared: [UInt: SQLiteStatement] = [:]

  init(_ connection: SQLiteConnection, maxVersions: Int64) {
    (self.connection, self.maxVersions) = (connection, maxVersions)
  }

  /// The statement that says `sql`, prepared once.
  func statement(_ sql: StaticString) throws(SQLiteFailure) -> SQLiteStatement {
    let place = UInt(bitPattern: sql.utf8Start)
    if let known = prepared[place] { return known }
    let statement = try connection.prepare(sql.description)
    prepared[place] = statement
    return statement
  }

  /// Ends what is under way and closes the file.
  func close() {
    prepared.removeAll()
    connection.close()
  }

  /// What stands beside a version so that a byte of it that has changed is noticed: SQLite watches over its structure
  /// only.
  static func sum(of key: [UInt8], _ version: StoredVersion) -> Int64 {
    var bytes = key
    bytes.reserveCapacity(key.count + (version.value?.count ?? 0) + 48)
    for number in [
      version.version, version.revision, version.timestamp.microseconds, version.expiry?.microseconds ?? -1,
      Int64(version.value?.count ?? -1),
    ] {
      withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }
    if let value = version.value { bytes += value }
    return Int64(bitPattern: SHA256.digest(of: bytes).ringPosition)
  }

  /// The same for what stands beside a name of a change.
  static func sum(of name: Change.Name, _ outcome: [UInt8]) -> Int64 {
    Int64(bitPattern: SHA256.digest(of: name.name + name.fingerprint + outcome).ringPosition)
  }
}
