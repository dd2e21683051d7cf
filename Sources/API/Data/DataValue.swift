import Basics
import Caching
import Hashing

/// A value of `GET /data` as this process has it.
struct DataValue {
  /// As a client sees it.
  let json: [UInt8]
  /// When it was the value of its key for sure, by this process's clock.
  let loadedAt: MonotonicTime
  /// Which one of its key's values it is.
  let version: Int64
  /// A time at which it was that for sure, or just before it, by PostgreSQL's clock: microseconds since 1970.
  let stamp: Int64
  /// What tells it from others: a weak entity tag (RFC 9110 §8.8.3), for the answer around it is another one each time.
  let tag: [UInt8]

  init(_ json: [UInt8], version: Int64, stamp: Int64, age: TimeSpan = .milliseconds(0), at now: MonotonicTime) {
    (self.json, self.version, self.stamp) = (json, version, stamp)
    loadedAt = MonotonicTime(nanoseconds: now.nanoseconds - min(now.nanoseconds, age.nanoseconds))
    tag = Array("W/\"".utf8) + SHA256.digest(of: json).hex.prefix(32) + Array("\"".utf8)
  }

  /// What it takes of memory, about.
  var bytes: Int { json.count + tag.count + 128 }

  func age(at now: MonotonicTime) -> TimeSpan { now.since(loadedAt) }

  // MARK: In Redis

  private static let fields = JSONFields("data", "loaded_at", "version", "checked_at", "key")

  /// The value as it is kept in Redis, for people to read too: with the time at which it was loaded, in milliseconds
  /// since 1970, for only that can be compared from one machine to another, and with what it is believed by: also the
  /// name of its `place`, lest an answer that is another place's is taken for this one's.
  func shared(in place: String, at now: MonotonicTime, _ clock: Timestamp) -> [UInt8] {
    var json = JSONWriter(capacity: self.json.count + place.utf8.count + 96)
    json.object { json in
      json.key("data")
      json.raw(self.json)
      json.field("loaded_at", clock.microseconds / 1000 - Int64(age(at: now).milliseconds))
      json.field("version", version)
      json.field("checked_at", stamp)
      json.field("key", place)
    }
    return json.bytes
  }

  /// Reads what `shared` has written; nil for anything else, for anybody may have put it there.
  init?(shared bytes: [UInt8], in place: String, at now: MonotonicTime, _ clock: Timestamp) {
    var data: ArraySlice<UInt8>?
    var (loadedAt, version, stamp): (Int?, Int?, Int?)
    var isHere = false
    do throws(JSONError) {
      try JSONScanner.read(bytes) { (scanner: inout JSONScanner) throws(JSONError) in
        try scanner.object(DataValue.fields, isExact: true) { (scanner: inout JSONScanner, field) throws(JSONError) in
          switch field {
          case 0: data = try scanner.skip()
          case 1: loadedAt = try scanner.integer()
          case 2: version = try scanner.integer()
          case 3: stamp = try scanner.integer()
          default: isHere = try scanner.string().elementsEqual(place.utf8)
          }
        }
      }
    } catch {
      return nil
    }
    guard isHere, let data, let loadedAt, loadedAt >= 0, let version, let stamp else { return nil }
    let age = max(0, clock.microseconds / 1000 - Int64(loadedAt))
    self.init(
      Array(data), version: Int64(version), stamp: Int64(stamp), age: .milliseconds(UInt64(age)), at: now)
  }
}
