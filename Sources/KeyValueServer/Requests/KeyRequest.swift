import Basics
import HTTP
import HTTPSyntax
import Hashing
import VersionedStore

/// What requests say of keys and versions.
enum KeyRequest {
  /// The key that a path names.
  /// - Throws: `Problem` 400.
  static func key(_ request: HTTPRequest) throws(Problem) -> StoreKey {
    guard let key = StoreKey(request.parameter("key")) else {
      throw Problem(
        400, "A key has 1 to \(VersionedStore.Limits.keyBytesMax) bytes.",
        errors: [Problem.FieldError("key", "is empty or too long")])
    }
    return key
  }

  /// `If-Match` and `If-None-Match`.
  /// - Throws: `Problem` 400.
  static func condition(_ request: HTTPRequest) throws(Problem) -> Condition {
    Condition(match: try versions(.ifMatch, request), noneMatch: try versions(.ifNoneMatch, request))
  }

  /// The versions that a field with entity tags names; tags that are none of ours name no version.
  private static func versions(_ field: KnownField, _ request: HTTPRequest) throws(Problem) -> Condition.Versions? {
    guard let value = try request.onlyValue(of: field) else { return nil }
    let text = String(decoding: value, as: UTF8.self)
    if text == "*" { return .any }
    guard let tags = tags(in: text), 1...Limits.tagsMax ~= tags.count else { throw malformed(field) }
    // Weak tags may be compared where the value is not changed (RFC 9110 §13.1.2); ours are never weak.
    let meant = tags.filter { !$0.isWeak || field != .ifMatch }
    return .these(meant.compactMap { version(String($0.text)) })
  }

  /// The entity tags of a list (RFC 9110 §8.8.3), without their quotes; nil for anything else. Tags that are none of
  /// ours may have commas in them.
  private static func tags(in text: String) -> [(isWeak: Bool, text: Substring)]? {
    func isBlank(_ character: Character) -> Bool { character == " " || character == "\t" }
    var tags: [(isWeak: Bool, text: Substring)] = []
    var rest = text[...]
    while true {
      rest = rest.drop { isBlank($0) || $0 == "," }
      if rest.isEmpty { return tags }
      let isWeak = rest.hasPrefix("W/")
      if isWeak { rest = rest.dropFirst(2) }
      guard rest.first == "\"", let end = rest.dropFirst().firstIndex(of: "\"") else { return nil }
      tags.append((isWeak, rest[..<end].dropFirst()))
      rest = rest[end...].dropFirst().drop(while: isBlank)
      guard rest.isEmpty || rest.first == "," else { return nil }
    }
  }

  private static func malformed(_ field: KnownField) -> Problem {
    Problem(
      400, "The field \(field.name) takes * or entity tags, as \"1\".",
      errors: [Problem.FieldError("\(field.name)", "is not * or a list of entity tags")])
  }

  /// A version in decimal digits, as the store counts them; nil for anything else.
  static func version(_ text: String) -> Int64? {
    guard let number = Int64(text), number > 0, String(number) == text else { return nil }
    return number
  }

  /// `ttl`: how long a value lives.
  /// - Throws: `Problem` 400.
  static func lifetime(_ request: HTTPRequest) throws(Problem) -> TimeSpan? {
    let most = VersionedStore.Limits.lifetimeSecondsMax
    return try request.query("ttl", takes: "a number of seconds from 1 to \(most)") { seconds($0) }
  }

  /// The lifetime of so many seconds, nil if it is none.
  static func seconds(_ text: String) -> TimeSpan? {
    Int(text).flatMap { 1...VersionedStore.Limits.lifetimeSecondsMax ~= $0 ? .seconds(UInt64($0)) : nil }
  }

  /// `limit`: entries of a page, `extra` more than a client may ask for between servers.
  /// - Throws: `Problem` 400.
  static func limit(_ request: HTTPRequest, plus extra: Int = 0) throws(Problem) -> Int {
    let most = VersionedStore.Limits.pageMax + extra
    return try request.query("limit", takes: "1 to \(most)") { Int($0).flatMap { 1...most ~= $0 ? $0 : nil } }
      ?? Limits.pageUsual
  }

  /// The partitions that keys with this beginning may be in, or the one that `partition` names.
  /// - Throws: `Problem` 400.
  static func partitions(_ request: HTTPRequest, _ range: KeyRange, of count: Int) throws(Problem) -> [Int] {
    let wished = try request.query("partition", takes: "0 to \(count - 1)") {
      Int($0).flatMap { 0..<count ~= $0 ? $0 : nil }
    }
    let only = Placement.partition(ofPrefix: range.prefix, of: count)
    if let wished { return only == nil || only == wished ? [wished] : [] }
    return only.map { [$0] } ?? Array(0..<count)
  }

  /// The range that `prefix` names: all keys without it.
  /// - Throws: `Problem` 400.
  static func range(_ request: HTTPRequest) throws(Problem) -> KeyRange {
    let prefix = try request.query("prefix") ?? ""
    guard prefix.utf8.count <= VersionedStore.Limits.keyBytesMax else {
      throw Problem(
        400, "A key has at most \(VersionedStore.Limits.keyBytesMax) bytes.",
        errors: [Problem.FieldError("prefix", "is too long")])
    }
    return KeyRange(prefix: prefix)
  }

  /// The name that the client has given the change, and what tells it from others.
  /// - Throws: `Problem` 400.
  static func name(_ request: HTTPRequest) throws(Problem) -> Change.Name? {
    guard let name = try request.idempotencyKey() else { return nil }
    var target = Array("\(request.method.name) ".utf8) + request.headBytes[request.head.path]
    target += request.headBytes[request.head.query]
    for field in [KnownField.ifMatch, .ifNoneMatch] { target += [0x0A] + (request.value(of: field) ?? []) }
    let digests = SHA256.digest(of: target).bytes + SHA256.digest(of: request.body).bytes
    return Change.Name(name, fingerprint: SHA256.digest(of: digests).bytes)
  }
}

/// A value as it is stored: the client's JSON in one line, for it stands in events and in files of lines. Between its
/// parts a line end is white space like any other, and within strings JSON has none.
enum StoredValue {
  /// - Throws: `Problem` 413.
  static func checked(_ json: ArraySlice<UInt8>) throws(Problem) -> [UInt8] {
    guard json.count <= VersionedStore.Limits.valueBytesMax else {
      throw Problem(413, "The value is longer than \(VersionedStore.Limits.valueBytesMax) bytes.")
    }
    return json.contains { $0 < 0x20 } ? json.map { $0 < 0x20 ? 0x20 : $0 } : Array(json)
  }
}
