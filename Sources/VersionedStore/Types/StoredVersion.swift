public import Basics

/// One version of a key.
public struct StoredVersion: Equatable, Sendable {
  /// Which one, from 1 on without gaps.
  public let version: Int64
  /// Which change of its partition it was, from 1 on.
  public let revision: Int64
  /// When it was made, by the clock of the server that made it.
  public let timestamp: Timestamp
  /// When it ends by itself; nil for never.
  public let expiry: Timestamp?
  /// JSON; nil if it is the deletion of the key.
  public let value: [UInt8]?

  /// A version.
  public init(version: Int64, revision: Int64, timestamp: Timestamp, expiry: Timestamp? = nil, value: [UInt8]?) {
    (self.version, self.revision, self.timestamp) = (version, revision, timestamp)
    (self.expiry, self.value) = (expiry, value)
  }

  /// Whether it is a value at `now`: neither a deletion nor past its time.
  public func isLive(at now: Timestamp) -> Bool {
    value != nil && expiry.map { $0.microseconds > now.microseconds } ?? true
  }

  /// Writes it as clients and archives have it: `"version":2,"timestamp":"…","value":…`, or `"deleted":true` as the
  /// last.
  public func writeFields(to json: inout JSONWriter) {
    json.field("version", version)
    json.field("timestamp", timestamp.rfc3339)
    if let expiry { json.field("expires_at", expiry.rfc3339) }
    if let value {
      json.key("value")
      json.raw(value)
    } else {
      json.field("deleted", true)
    }
  }
}

/// What is known of a key, or of one of its versions.
public enum Lookup: Equatable, Sendable {
  /// A version: a value, or the deletion of one.
  case found(StoredVersion)
  /// Versions before `oldest` are not kept any more.
  case compacted(oldest: Int64)
  /// There is nothing and never was.
  case none
}

/// A key in a list.
public struct KeyEntry: Equatable, Sendable {
  /// The key.
  public let key: StoreKey
  /// Its newest version.
  public let version: Int64
  /// When that was made.
  public let timestamp: Timestamp

  /// An entry.
  public init(key: StoreKey, version: Int64, timestamp: Timestamp) {
    (self.key, self.version, self.timestamp) = (key, version, timestamp)
  }
}

/// Something that has happened to a key.
public struct StoreEvent: Equatable, Sendable {
  /// The key.
  public let key: StoreKey
  /// What it has now.
  public let version: StoredVersion
}

/// What has happened since some revision.
public struct EventPage: Equatable, Sendable {
  /// In their order.
  public let events: [StoreEvent]
  /// Up to which revision that is all.
  public let through: Int64
  /// Whether something before is not known any more.
  public let hasGap: Bool
}

/// How much there is in a partition.
public struct PartitionFigures: Equatable, Sendable {
  /// Keys with a value.
  public var keys: Int64 = 0
  /// Versions that are kept, deletions included.
  public var versions: Int64 = 0
  /// Bytes of the files.
  public var fileBytes: Int64 = 0

  /// Nothing.
  public init() {}
}

/// What cleaning removes, or would.
public struct StoreWaste: Equatable, Sendable {
  /// Versions of keys that were deleted, before the deletion, and those past what is kept of each key.
  public var versions: Int64 = 0
  /// Bytes of their values.
  public var bytes: Int64 = 0
  /// Names of changes that are old enough.
  public var names: Int64 = 0

  /// Nothing.
  init() {}
}
