import Basics
import Glibc

/// Writes structured lines for one subsystem: time, level, subsystem, a constant message, and `key=value` fields;
/// as text for people or one JSON object a line for machines. Nothing is built for a level that is off.
public struct Logger: Sendable {
  /// How much a line matters, least first.
  public enum Level: Int, Comparable, Sendable, CaseIterable {
    case debug, info, warning, error

    /// Less important comes first.
    public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

    var name: String {
      switch self {
      case .debug: "debug"
      case .info: "info"
      case .warning: "warn"
      case .error: "error"
      }
    }
  }

  /// How lines look.
  public enum Format: Sendable {
    case text, json
  }

  /// One `key=value` of a line.
  public typealias Field = (key: StaticString, value: String)

  private let sink: LogSink
  private let subsystem: String
  private let level: Level
  private let format: Format

  /// A logger for `subsystem` that drops lines below `level`.
  public init(sink: LogSink, subsystem: String, level: Level = .info, format: Format = .text) {
    self.sink = sink
    self.subsystem = subsystem
    self.level = level
    self.format = format
  }

  /// The same destination for another subsystem.
  public func named(_ subsystem: String) -> Logger {
    Logger(sink: sink, subsystem: subsystem, level: level, format: format)
  }

  /// Text when standard error is a terminal, JSON otherwise.
  public static func formatForStandardError() -> Format {
    isatty(STDERR_FILENO) == 1 ? .text : .json
  }

  /// What a developer follows while looking for a fault.
  public func debug(_ message: StaticString, _ fields: @autoclosure () -> [Field] = []) {
    if level <= .debug { write(.debug, message, fields()) }
  }

  /// What an operator wants to have read later.
  public func info(_ message: StaticString, _ fields: @autoclosure () -> [Field] = []) {
    if level <= .info { write(.info, message, fields()) }
  }

  /// What went wrong and was coped with.
  public func warning(_ message: StaticString, _ fields: @autoclosure () -> [Field] = []) {
    if level <= .warning { write(.warning, message, fields()) }
  }

  /// What went wrong and cost somebody an answer.
  public func error(_ message: StaticString, _ fields: @autoclosure () -> [Field] = []) {
    write(.error, message, fields())
  }

  /// Waits until every line so far was written.
  public func flush() {
    sink.flush()
  }

  private func write(_ level: Level, _ message: StaticString, _ fields: [Field]) {
    guard level >= .warning else { return put(level, message, fields) }
    let reason = fields.first { Logger.isReason($0.key) }?.value
    let suppressed = sink.admit(message, for: reason, at: .current()) { (lines, reason) in
      let of: [Field] = [("lines", "\(lines)"), ("of", "\(message)")]
      put(.warning, "lines were suppressed", reason.map { of + [("reason", $0)] } ?? of)
    }
    guard let suppressed else { return }
    // The line that comes through tells of those that did not.
    put(level, message, suppressed > 0 ? fields + [("suppressed", "\(suppressed)")] : fields)
  }

  private static func isReason(_ key: StaticString) -> Bool {
    key.withUTF8Buffer { $0.elementsEqual("reason".utf8) }
  }

  private func put(_ level: Level, _ message: StaticString, _ fields: [Field]) {
    let time = String(decoding: Timestamp.current().rfc3339, as: UTF8.self)
    var line: String
    switch format {
    case .text:
      line = "\(time) \(level.name) \(subsystem): \(message)"
      for field in fields { line += " \(field.key)=\(Logger.quoted(field.value, always: false))" }
    case .json:
      line = "{\"time\":\"\(time)\",\"level\":\"\(level.name)\",\"subsystem\":\(Logger.quoted(subsystem, always: true))"
      line += ",\"message\":\(Logger.quoted("\(message)", always: true))"
      for field in fields { line += ",\"\(field.key)\":\(Logger.quoted(field.value, always: true))" }
      line += "}"
    }
    line += "\n"
    sink.write(Array(line.utf8))
  }

  /// A JSON string; in text lines only where a space, quote or control character would make the line ambiguous.
  private static func quoted(_ value: String, always: Bool) -> String {
    let plain = !value.isEmpty && value.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x5C && $0 != 0x7F }
    if plain && !always { return value }
    var text = "\""
    for scalar in value.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case _ where scalar.value < 0x20 || scalar.value == 0x7F:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    return text + "\""
  }
}
