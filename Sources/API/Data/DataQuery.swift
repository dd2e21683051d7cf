import Basics
import Caching
import DataItems
import HTTP
import HTTPSyntax

/// What a client asks of `GET /data`.
struct DataQuery {
  let key: DataKey
  /// Whether no cache is to be looked into or told.
  let isBypass: Bool
  /// How long what is loaded now may be answered from caches; nil for as long as usual.
  let lifetime: TimeSpan?
  /// The one level to be looked into and told; nil for all.
  let level: CacheLevel?
  /// How long after its time a copy may be answered if there is no other answer, whether or not changes were heard of
  /// (RFC 5861 §4).
  let staleIfError: TimeSpan?

  /// A caller who wants the value of `key` and nothing in particular.
  init(key: DataKey, level: CacheLevel? = nil) {
    (self.key, isBypass, lifetime, self.level, staleIfError) = (key, false, nil, level, nil)
  }

  /// - Throws: `Problem` 400 for what cannot be understood.
  init(_ request: HTTPRequest) throws(Problem) {
    key = DataKey(.item, try DataQuery.checked(request.query("key") ?? Limits.dataKeyUsual))
    isBypass =
      try request.query("bypass_cache", takes: "true or false") {
        ["true": true, "1": true, "on": true, "false": false, "0": false, "off": false][$0.lowercased()]
      } ?? false
    let seconds = try request.query(
      "cache_ttl", takes: "a number of seconds from 1 to \(Limits.dataLifetimeSecondsMax)"
    ) { text in
      Int(text).flatMap { 1...Limits.dataLifetimeSecondsMax ~= $0 ? $0 : nil }
    }
    lifetime = seconds.map { .seconds(UInt64($0)) }
    level = try request.query("cache_level", takes: "L1, L2 or L3") { CacheLevel(name: $0) }
    staleIfError = DataQuery.staleIfError(of: request.text(of: .cacheControl) ?? "")
  }

  /// The seconds of the directive, nil without one.
  private static func staleIfError(of field: String) -> TimeSpan? {
    for directive in field.lowercased().split(separator: ",") {
      let parts = directive.split(separator: "=", maxSplits: 1).map { $0.filter { $0 != " " && $0 != "\t" } }
      if parts.count == 2, parts[0] == "stale-if-error", let seconds = UInt64(parts[1]), seconds <= 1 << 31 {
        return .seconds(seconds)
      }
    }
    return nil
  }

  /// A key that PostgreSQL can have and a line of a log can show.
  /// - Throws: `Problem` 400 for any other.
  static func checked(_ key: String) throws(Problem) -> String {
    guard 1...DataItems.Limits.keyBytesMax ~= key.utf8.count, key.utf8.allSatisfy({ $0 >= 0x20 && $0 != 0x7F }) else {
      throw Problem(
        400, "A key has 1 to \(DataItems.Limits.keyBytesMax) bytes and no control characters.",
        errors: [Problem.FieldError("key", "is empty, too long, or holds other characters")])
    }
    return key
  }
}
