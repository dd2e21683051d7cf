import Basics
import Hashing

/// What the file has of a key beside its versions.
struct PartitionItem {
  let id: Int64
  /// The newest version, and the oldest that is kept.
  let latest: Int64
  let oldest: Int64
  /// Whether the newest one is a value, and when that ends.
  let isLive: Bool
  let expires: Int64?

  /// The item number `id` whose newest version is `version`.
  init(id: Int64, _ version: StoredVersion, oldest: Int64) {
    (self.id, latest, self.oldest) = (id, version.version, oldest)
    (isLive, expires) = (version.value != nil, version.expiry?.microseconds)
  }

  /// The same without the versions before `oldest`.
  init(_ item: PartitionItem, oldest: Int64) {
    (id, latest, self.oldest) = (item.id, item.latest, max(item.oldest, oldest))
    (isLive, expires) = (item.isLive, item.expires)
  }

  /// The item in the columns of a row from `column` on, with its sum behind it; it is looked whether it is as it was
  /// written.
  init(_ statement: SQLiteStatement, of key: [UInt8], from column: CInt = 0) throws(SQLiteFailure) {
    (id, latest) = (statement.integer(column), statement.integer(column + 1))
    oldest = statement.integer(column + 2)
    isLive = statement.integer(column + 3) != 0
    expires = statement.optional(column + 4)
    guard sum(of: key) == statement.integer(column + 5) else {
      throw SQLiteFailure.damage("what is known of a key is not what was written")
    }
  }

  /// The version whose value the key has at `now`, nil if it has none.
  func liveVersion(at now: Timestamp) -> Int64? {
    isLive && expires.map { $0 > now.microseconds } ?? true ? latest : nil
  }

  /// What stands beside it so that a byte of it that has changed is noticed.
  func sum(of key: [UInt8]) -> Int64 {
    var bytes = key
    for number in [id, latest, oldest, isLive ? 1 : 0, expires ?? -1] {
      withUnsafeBytes(of: number.bigEndian) { bytes.append(contentsOf: $0) }
    }
    return Int64(bitPattern: SHA256.digest(of: bytes).ringPosition)
  }
}
