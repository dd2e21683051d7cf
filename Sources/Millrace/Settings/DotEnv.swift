/// A `.env` file, read as Docker Compose reads it: `NAME=value` or `NAME: value` lines, blanks around either, an
/// `export` before it, comments, values in quotes, which may have several lines, and variables in values.
///
/// A comment begins with `#` at the beginning of a line or behind white space. Within single quotes everything stands
/// for itself but `\'`; within double quotes `\n`, `\r`, `\t`, `\"`, `\\` and `\$` are escapes. Variables are replaced
/// everywhere but within single quotes; see `Interpolation`.
struct DotEnv {
  static let name = ".env"
  private static let single = UInt8(ascii: "'")
  private static let double = UInt8(ascii: "\"")

  private let bytes: [UInt8]
  private var position = 0
  private var line = 1
  private let environment: [String: String]
  private var variables: [String: String] = [:]

  /// The variables that `text` sets, where it may use those of `environment`, which beat its own.
  /// - Throws: `CommandError`: 78, with the number of the line.
  static func parse(_ text: String, environment: [String: String] = [:]) throws(CommandError) -> [String: String] {
    var file = DotEnv(text, environment)
    while try file.readLine() {}
    return file.variables
  }

  private init(_ text: String, _ environment: [String: String]) {
    // Editors elsewhere end lines with CR LF, and some begin a file with a byte order mark.
    let bytes = Array(text.utf8)
    let start = bytes.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    self.bytes = bytes.indices[start...].compactMap { index in
      bytes[index] == 0x0D && index + 1 < bytes.count && bytes[index + 1] == 0x0A ? nil : bytes[index]
    }
    self.environment = environment
  }

  /// Reads one variable, comment or empty line; false at the end.
  private mutating func readLine() throws(CommandError) -> Bool {
    skipBlanks()
    guard let first = peek else { return false }
    if first == 0x0A || first == UInt8(ascii: "#") {
      skipLine()
      return true
    }
    let number = line
    if bytes[position...].starts(with: Array("export".utf8)), DotEnv.isBlank(at(position + 6)) {
      position += 6
      skipBlanks()
    }
    let name = take { DotEnv.isOfName($0) || $0 == UInt8(ascii: ".") || $0 == UInt8(ascii: "-") }
    skipBlanks()
    guard !name.isEmpty, let sign = peek, sign == UInt8(ascii: "=") || sign == UInt8(ascii: ":") else {
      throw DotEnv.problem(number, "not NAME=value")
    }
    position += 1
    variables[name] = try readValue(number)
    return true
  }

  private mutating func readValue(_ number: Int) throws(CommandError) -> String {
    let isFirst = !DotEnv.isBlank(peek)
    skipBlanks()
    if let quote = peek, quote == DotEnv.double || quote == DotEnv.single {
      return try readQuoted(quote, number)
    }
    var value: [UInt8] = []
    // Directly behind the sign `#` is no comment; behind a blank it is.
    var isAfterBlank = !isFirst
    while let byte = peek, byte != 0x0A, !(byte == UInt8(ascii: "#") && isAfterBlank) {
      isAfterBlank = DotEnv.isBlank(byte)
      value.append(byte)
      position += 1
    }
    while let last = value.last, DotEnv.isBlank(last) { value.removeLast() }
    skipLine()
    return try expand(value[...], hasEscapes: false, number)
  }

  private mutating func readQuoted(_ quote: UInt8, _ number: Int) throws(CommandError) -> String {
    position += 1
    var value: [UInt8] = []
    while let byte = peek, byte != quote {
      // Whatever an escaped quote means, it does not end the value.
      if byte == UInt8(ascii: "\\"), let next = at(position + 1), next == quote || quote == DotEnv.double {
        if quote == DotEnv.double { value.append(byte) }
        value.append(next)
        advance()
        advance()
      } else {
        value.append(byte)
        advance()
      }
    }
    guard peek == quote else {
      throw DotEnv.problem(number, "the quote \(Character(UnicodeScalar(quote))) is never closed")
    }
    position += 1
    let isFollowedByBlank = DotEnv.isBlank(peek)
    skipBlanks()
    if let next = peek, next != 0x0A, !(next == UInt8(ascii: "#") && isFollowedByBlank) {
      throw DotEnv.problem(line, "text behind the closing quote")
    }
    skipLine()
    if quote == DotEnv.single { return String(decoding: value, as: UTF8.self) }
    return try expand(value[...], hasEscapes: true, number)
  }

  private func expand(_ value: ArraySlice<UInt8>, hasEscapes: Bool, _ number: Int) throws(CommandError) -> String {
    let expansion = Interpolation(hasEscapes: hasEscapes) { environment[$0] ?? variables[$0] }
    do {
      return String(decoding: try expansion.expand(value), as: UTF8.self)
    } catch {
      throw DotEnv.problem(number, error.reason)
    }
  }

  private static func problem(_ line: Int, _ what: String) -> CommandError {
    .configuration("\(name), line \(line): \(what)")
  }

  private var peek: UInt8? { at(position) }

  private func at(_ index: Int) -> UInt8? { index < bytes.count ? bytes[index] : nil }

  private mutating func advance() {
    if peek == 0x0A { line += 1 }
    position += 1
  }

  private mutating func skipBlanks() { _ = take { DotEnv.isBlank($0) } }

  private mutating func skipLine() {
    _ = take { $0 != 0x0A }
    if peek != nil { advance() }
  }

  private mutating func take(while isTaken: (UInt8) -> Bool) -> String {
    let start = position
    while let byte = peek, isTaken(byte) { position += 1 }
    return String(decoding: bytes[start..<position], as: UTF8.self)
  }

  private static func isBlank(_ byte: UInt8?) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0D }

  /// Letters, digits and `_`.
  static func isOfName(_ byte: UInt8) -> Bool {
    0x61...0x7A ~= byte | 0x20 || 0x30...0x39 ~= byte || byte == UInt8(ascii: "_")
  }
}
