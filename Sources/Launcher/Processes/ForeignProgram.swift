import Glibc

/// A program of others that a system needs, and whether its version will do.
public struct ForeignProgram: Sendable {
  /// Where it is.
  public let path: String
  /// Its version as it says it, `15.14`; empty if it does not.
  public let version: String
  /// One sentence if the version will not do, nil if it will.
  public let complaint: String?

  /// The program at `path`; `name` and `major`, the first version that will do, are for the sentence.
  init(_ name: String, path: String, major: Int) {
    self.path = path
    version = ForeignProgram.number(in: ForeignProgram.output(of: "\(Shell.quoted(path)) --version"))
    complaint = ForeignProgram.complaint(name, version: version, major: major)
  }

  /// PostgreSQL's server, whose programs are in `folder`.
  static func postgres(in folder: String) -> ForeignProgram {
    ForeignProgram("PostgreSQL", path: folder + "/postgres", major: Limits.postgresMajorMin)
  }

  /// Redis' server, nil if it is in no folder of `path`, which is written like PATH.
  public static func redis(path: String) -> ForeignProgram? {
    let places = path.split(separator: ":").map { "\($0)/redis-server" }
    return places.first { access($0, X_OK) == 0 }.map {
      ForeignProgram("Redis", path: $0, major: Limits.redisMajorMin)
    }
  }

  /// What is wrong with `version` of a program of which `major` or later is needed. One that tells no version is tried.
  static func complaint(_ name: String, version: String, major: Int) -> String? {
    guard let its = Int(version.prefix { $0 != "." }), its < major else { return nil }
    return "this is \(name) \(version), and \(major) or later is needed"
  }

  /// The first number with points in it, or without: `7.0.15` of `Redis server v=7.0.15 sha=…`.
  static func number(in text: String) -> String {
    var number = text.drop { !($0.isASCII && $0.isNumber) }.prefix { $0.isASCII && ($0.isNumber || $0 == ".") }
    while number.last == "." { number.removeLast() }
    return String(number)
  }

  private static func output(of line: String) -> String {
    guard let stream = popen(line + " 2>/dev/null", "re") else { return "" }
    defer { pclose(stream) }
    var bytes = [CChar](repeating: 0, count: 256)
    guard fgets(&bytes, CInt(bytes.count), stream) != nil else { return "" }
    return String(decoding: bytes.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
  }
}
