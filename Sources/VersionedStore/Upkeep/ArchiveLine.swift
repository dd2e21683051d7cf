import Basics

/// A version of a key as a line of JSON: how stores come out of one engine and into another, and what people can read.
///
///     {"key":"a","version":1,"timestamp":"2026-01-31T12:00:00.000000Z","value":{"b":1}}
///     {"key":"a","version":2,"timestamp":"2026-01-31T12:00:01.000000Z","deleted":true}
///
/// The lines of a key follow each other, its oldest version first.
public struct ArchiveLine: Equatable, Sendable {
  private static let fields = JSONFields("key", "version", "timestamp", "expires_at", "value", "deleted")

  /// The key.
  public let key: StoreKey
  /// Its version; the revision is not part of the line.
  public let version: StoredVersion

  init(key: StoreKey, version: StoredVersion) {
    (self.key, self.version) = (key, version)
  }

  /// The line, without its end.
  public var json: [UInt8] {
    var json = JSONWriter(capacity: key.bytes.count + (version.value?.count ?? 0) + 128)
    json.object { json in
      json.field("key", key.bytes)
      version.writeFields(to: &json)
    }
    return json.bytes
  }

  /// Reads what `json` has written; nil for anything else.
  public init?(json: [UInt8]) {
    var (key, version, time, expiry): (StoreKey?, Int?, Timestamp?, Timestamp?)
    var value: ArraySlice<UInt8>?
    var isDeleted = false
    do throws(JSONError) {
      try JSONScanner.read(json) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(ArchiveLine.fields, isExact: true) { (scanner: inout JSONScanner, field) throws(JSONError) in
          switch field {
          case 0: key = StoreKey(utf8: try scanner.string())
          case 1: version = try scanner.integer()
          case 2: time = Timestamp(rfc3339: try scanner.string())
          case 3:
            // What ends at a time that cannot be read would never end.
            expiry = Timestamp(rfc3339: try scanner.string())
            if expiry == nil { throw scanner.wrongShape("this is no time") }
          case 4: value = try scanner.skip()
          default: isDeleted = try scanner.bool()
          }
        }
      }
    } catch {
      return nil
    }
    guard let key, let version, 1...Limits.archivedVersionMax ~= version, let time, (value == nil) == isDeleted,
      expiry == nil || !isDeleted,
      value?.count ?? 0 <= Limits.valueBytesMax
    else { return nil }
    self.key = key
    self.version = StoredVersion(
      version: Int64(version), revision: 0, timestamp: time, expiry: expiry,
      // In one line, as it came.
      value: value.map { $0.map { $0 < 0x20 ? 0x20 : $0 } })
  }
}
